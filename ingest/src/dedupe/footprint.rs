//! How much memory a window takes.

use super::{CountedId, IdentityHash, Quantities, Window};

/// A place of the table: an id with its quantities, and a byte that says whether it is taken.
const PLACE: usize = size_of::<(IdentityHash, Quantities)>() + 1;

impl Window {
    /// About how many bytes it takes: the places of the table that ids are looked up in, taken or not, and each id once
    /// more in the order in which they are forgotten. Costs nothing, however many ids there are.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.known.capacity() * PLACE + self.known.len() * size_of::<CountedId>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedupe::Generation;

    #[test]
    fn it_grows_with_the_ids_and_is_nothing_without() {
        assert_eq!(Window::default().bytes(), 0);
        let ids = (0..10_000).map(|n: u32| {
            let id = IdentityHash::of_event("acme", "chat", "", &n.to_string());
            let quantities = Quantities::UNKNOWN;
            (CountedId { id, quantities }, 0)
        });
        let window = Window::load(vec![Generation::of(ids)]);
        let of_each = window.bytes() / window.len();
        assert!(
            (PLACE + size_of::<CountedId>()..4 * PLACE).contains(&of_each),
            "{of_each}"
        );
    }
}
