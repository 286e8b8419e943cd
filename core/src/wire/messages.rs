//! One declaration per message: its kind, its fields, its frame's cap; the codec follows from it.

use super::codec::{self, DecodeError};

/// A family of control messages, each with a kind number of its own.
pub trait WireMessage: Sized {
    /// The message's number on the wire.
    fn kind(&self) -> u8;
    /// The message's name, for logs.
    fn name(&self) -> &'static str;
    /// Bytes that a body of this kind may have; `None` for a kind that this family does not know.
    fn body_bytes_max(kind: u8) -> Option<u32>;
    /// Appends the body (without frame header) to `out`.
    fn encode_body(&self, out: &mut Vec<u8>);
    /// Reads a body of this kind; the whole of `body` must be used up.
    ///
    /// # Errors
    /// An unknown kind, a body over its cap, or bytes that are not this message.
    fn decode_body(kind: u8, body: &[u8]) -> Result<Self, DecodeError>;
}

macro_rules! messages {
    (
        $(#[$meta:meta])* pub enum $family:ident {
            $( $(#[$vmeta:meta])* $kind:literal max $cap:literal $variant:ident {
                $( $(#[$fmeta:meta])* $field:ident : $ty:ty ),* $(,)?
            } )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $family { $( $(#[$vmeta])* $variant { $( $(#[$fmeta])* $field: $ty ),* } ),* }

        impl $crate::wire::WireMessage for $family {
            fn kind(&self) -> u8 {
                match self { $( Self::$variant { .. } => $kind ),* }
            }
            fn name(&self) -> &'static str {
                match self { $( Self::$variant { .. } => stringify!($variant) ),* }
            }
            fn body_bytes_max(kind: u8) -> Option<u32> {
                match kind { $( $kind => Some($cap), )* _ => None }
            }
            fn encode_body(&self, out: &mut Vec<u8>) {
                match self {
                    $( Self::$variant { $( $field ),* } => $crate::wire::codec::encode(&( $( $field, )* ), out) ),*
                }
            }
            fn decode_body(kind: u8, body: &[u8]) -> Result<Self, $crate::wire::codec::DecodeError> {
                $crate::wire::messages::check_length::<Self>(kind, body)?;
                match kind {
                    $( $kind => {
                        let ( $( $field, )* ) = $crate::wire::codec::decode::<( $( $ty, )* )>(body)?;
                        Ok(Self::$variant { $( $field ),* })
                    } )*
                    _ => Err($crate::wire::codec::DecodeError::UnknownKind { kind }),
                }
            }
        }
    };
}
pub(crate) use messages;

pub(crate) fn check_length<M: WireMessage>(kind: u8, body: &[u8]) -> Result<(), DecodeError> {
    let max = M::body_bytes_max(kind).ok_or(DecodeError::UnknownKind { kind })?;
    if body.len() > max as usize {
        return Err(codec::DecodeError::TooLong { kind, bytes: body.len(), max });
    }
    Ok(())
}
