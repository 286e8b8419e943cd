//! The buffer that a driver hands to [`Machine::handle`](crate::Machine::handle).

/// Effects in the order in which they are to be performed. Kept and reused by the driver, so that a turn allocates
/// nothing.
#[derive(Debug)]
pub struct Effects<E>(Vec<E>);

impl<E> Default for Effects<E> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<E> Effects<E> {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one effect.
    pub fn push(&mut self, effect: E) {
        self.0.push(effect);
    }

    /// Takes all effects out, first to last.
    pub fn drain(&mut self) -> std::vec::Drain<'_, E> {
        self.0.drain(..)
    }

    /// Number of effects waiting to be performed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is nothing to be done?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The effects, first to last, without taking them out.
    pub fn iter(&self) -> std::slice::Iter<'_, E> {
        self.0.iter()
    }
}

impl<E> Extend<E> for Effects<E> {
    fn extend<I: IntoIterator<Item = E>>(&mut self, effects: I) {
        self.0.extend(effects);
    }
}

impl<'a, E> IntoIterator for &'a Effects<E> {
    type Item = &'a E;
    type IntoIter = std::slice::Iter<'a, E>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
