//! Writing Cap'n Proto messages, as far as a workerd configuration needs it: structs, lists of structs, texts and data
//! in one segment (capnproto.org/encoding.html).
//!
//! workerd reads a configuration from a pipe only in this form, and the configuration holds secrets, which must not be
//! written to a file.

use zeroize::Zeroizing;

/// Bytes per word.
const WORD: usize = 8;
/// Element size code of single bytes.
const BYTES: u64 = 2;
/// Element size code of pointers.
const POINTERS: u64 = 6;
/// Element size code of structs, which are described by a tag word.
const STRUCTS: u64 = 7;

/// A struct in the message: where it starts and how large its two sections are, in words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Struct {
    at: usize,
    data: usize,
    pointers: usize,
}

/// How large a struct's sections are, in words: data, then pointers.
pub(super) type Shape = (usize, usize);

/// A message under construction. Wiped when dropped.
pub(super) struct Message {
    bytes: Zeroizing<Vec<u8>>,
}

impl Message {
    /// Starts a message with its root struct. `expected` is how many bytes it will hold at most: growing beyond it copies
    /// what is there, secrets included, without wiping the old place.
    pub(super) fn new(root: Shape, expected: usize) -> (Self, Struct) {
        let mut bytes = Zeroizing::new(Vec::with_capacity(expected));
        // The segment table (one segment, length filled in at the end) and the pointer to the root.
        bytes.resize(2 * WORD, 0);
        let mut message = Self { bytes };
        let root = message.place(WORD, root);
        (message, root)
    }

    /// The finished message.
    pub(super) fn finish(mut self) -> Zeroizing<Vec<u8>> {
        let words = (self.bytes.len() - WORD) / WORD;
        self.put(0, (words as u64) << 32);
        self.bytes
    }

    /// A struct in a pointer slot of another.
    pub(super) fn child(&mut self, parent: Struct, slot: usize, shape: Shape) -> Struct {
        self.place(pointer(parent, slot), shape)
    }

    /// A list of structs in a pointer slot.
    pub(super) fn list(
        &mut self,
        parent: Struct,
        slot: usize,
        count: usize,
        (data, pointers): Shape,
    ) -> Vec<Struct> {
        let size = data + pointers;
        let tag = self.allot(1 + count * size);
        self.list_pointer(pointer(parent, slot), tag, STRUCTS, count * size);
        self.put(tag, struct_word(count as u64, data, pointers));
        (0..count)
            .map(|i| Struct {
                at: tag + WORD + i * size * WORD,
                data,
                pointers,
            })
            .collect()
    }

    /// A text in a pointer slot.
    pub(super) fn text(&mut self, parent: Struct, slot: usize, text: &str) {
        self.text_at(pointer(parent, slot), text);
    }

    /// A list of texts in a pointer slot.
    pub(super) fn texts<'a>(
        &mut self,
        parent: Struct,
        slot: usize,
        texts: impl ExactSizeIterator<Item = &'a str>,
    ) {
        let count = texts.len();
        let start = self.allot(count);
        self.list_pointer(pointer(parent, slot), start, POINTERS, count);
        for (i, text) in texts.enumerate() {
            self.text_at(start + i * WORD, text);
        }
    }

    /// Bytes in a pointer slot.
    pub(super) fn data(&mut self, parent: Struct, slot: usize, data: &[u8]) {
        let start = self.allot(data.len().div_ceil(WORD));
        self.bytes[start..start + data.len()].copy_from_slice(data);
        self.list_pointer(pointer(parent, slot), start, BYTES, data.len());
    }

    /// A 16-bit field, by its place among such fields in the data section.
    pub(super) fn number(&mut self, of: Struct, index: usize, value: u16) {
        debug_assert!(index < of.data * 4);
        let at = of.at + index * 2;
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    /// Sets a bit of the data section.
    pub(super) fn bit(&mut self, of: Struct, index: usize) {
        debug_assert!(index < of.data * 64);
        self.bytes[of.at + index / 8] |= 1 << (index % 8);
    }

    fn text_at(&mut self, place: usize, text: &str) {
        // A text is a list of bytes that ends with a zero.
        let start = self.allot((text.len() + 1).div_ceil(WORD));
        self.bytes[start..start + text.len()].copy_from_slice(text.as_bytes());
        self.list_pointer(place, start, BYTES, text.len() + 1);
    }

    fn place(&mut self, place: usize, (data, pointers): Shape) -> Struct {
        let at = self.allot(data + pointers);
        let offset = offset(place, at);
        self.put(place, struct_word(offset, data, pointers));
        Struct { at, data, pointers }
    }

    fn list_pointer(&mut self, place: usize, start: usize, code: u64, count: usize) {
        let offset = offset(place, start);
        self.put(
            place,
            1 | (offset << 2) | (code << 32) | ((count as u64) << 35),
        );
    }

    fn allot(&mut self, words: usize) -> usize {
        let at = self.bytes.len();
        self.bytes.resize(at + words * WORD, 0);
        at
    }

    fn put(&mut self, at: usize, word: u64) {
        self.bytes[at..at + WORD].copy_from_slice(&word.to_le_bytes());
    }
}

fn pointer(of: Struct, slot: usize) -> usize {
    debug_assert!(slot < of.pointers);
    of.at + (of.data + slot) * WORD
}

/// Words between the end of a pointer and what it points at. Everything is placed after its pointer.
fn offset(place: usize, target: usize) -> u64 {
    ((target - place - WORD) / WORD) as u64
}

fn struct_word(offset: u64, data: usize, pointers: usize) -> u64 {
    (offset << 2) | ((data as u64) << 32) | ((pointers as u64) << 48)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_by_the_book() {
        let (mut message, root) = Message::new((1, 2), 256);
        message.number(root, 0, 3);
        message.bit(root, 17);
        message.text(root, 0, "hi");
        let items = message.list(root, 1, 2, (0, 1));
        message.text(items[1], 0, "x");
        let bytes = message.finish();
        let word = |i: usize| u64::from_le_bytes(bytes[i * 8..i * 8 + 8].try_into().unwrap());
        assert_eq!(word(0), 9 << 32, "one segment of nine words");
        assert_eq!(
            word(1),
            (1 << 32) | (2 << 48),
            "root: one data word, two pointers"
        );
        assert_eq!(word(2), 3 | 1 << 17);
        assert_eq!(
            word(3),
            1 | (1 << 2) | (2 << 32) | (3 << 35),
            "a text of two letters"
        );
        assert_eq!(&bytes[40..48], b"hi\0\0\0\0\0\0");
        assert_eq!(
            word(4),
            1 | (1 << 2) | (7 << 32) | (2 << 35),
            "two words of structs"
        );
        assert_eq!(
            word(6),
            (2 << 2) | (1 << 48),
            "the tag: two structs of one pointer"
        );
        assert_eq!(word(7), 0, "the first has nothing");
        assert_eq!(word(8), 1 | (2 << 32) | (2 << 35));
        assert_eq!(bytes.len(), 10 * 8);
    }
}
