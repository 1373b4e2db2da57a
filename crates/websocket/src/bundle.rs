use crate::{Frame, frame};

/// Texts that leave together, each a message of its own: for who sends the same ones to many.
///
/// Each peer has one entry in its queue for all of them, and the kernel one piece to copy; bounds
/// take them for one message.
#[derive(Debug, Default)]
pub struct Bundle(Vec<u8>);

impl Bundle {
    /// Adds the next text.
    pub fn add(&mut self, text: &str) {
        frame::put_text(&mut self.0, text);
    }

    /// How many bytes it takes on the wire.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        self.0.len()
    }

    /// All texts, as something that can be sent.
    #[must_use]
    pub fn into_frame(self) -> Frame {
        Frame::of_wire(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_on_the_wire_what_its_texts_are() {
        let texts = ["a".to_owned(), String::new(), "b".repeat(300), "c".repeat(70_000)];
        let mut bundle = Bundle::default();
        texts.iter().for_each(|it| bundle.add(it));
        let each: Vec<u8> = texts.iter().flat_map(|it| Frame::text(it).parts().concat()).collect();
        assert_eq!(bundle.wire_bytes(), each.len());
        assert_eq!(bundle.into_frame().parts().concat(), each);
    }
}
