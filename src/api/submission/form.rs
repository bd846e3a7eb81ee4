//! A submission as a form. Comes in: the parts of a multipart body. Goes out: the archive's bytes while they come, and
//! the fields. Never: a part that was passed over.

use super::error::{FormError, SubmissionError};
use super::field::Field;
use super::fields::{Fields, Submitted, WithoutNonce, check_length};
use super::multipart::{Part, Parts, Reader};

/// Reads one form.
#[derive(Debug)]
pub(super) struct FormDecoder {
    reader: Reader,
    form: Form,
}

#[derive(Debug, Default)]
struct Form {
    fields: Fields,
    /// The part that is being read, and its text so far.
    text: Option<(Field, Vec<u8>)>,
}

impl FormDecoder {
    /// Reads a form whose parts are separated by `boundary`.
    pub(super) fn new(boundary: &str) -> Result<Self, FormError> {
        Ok(Self {
            reader: Reader::new(boundary)?,
            form: Form::default(),
        })
    }

    /// Takes the next bytes of the body and appends those of the archive to `archive`.
    pub(super) fn feed(
        &mut self,
        input: &[u8],
        archive: &mut Vec<u8>,
    ) -> Result<(), SubmissionError> {
        self.reader.feed(
            input,
            &mut Filling {
                form: &mut self.form,
                archive,
            },
        )
    }

    /// Whether the form has an archive, perhaps an empty one.
    pub(super) fn has_archive(&self) -> bool {
        self.form.fields.has_archive()
    }

    /// The submission, when the body is complete.
    pub(super) fn finish(self) -> Result<Submitted, SubmissionError> {
        self.reader.finish()?;
        self.form.fields.finish(WithoutNonce::Draw)
    }
}

/// A form with the place where its archive goes.
struct Filling<'a> {
    form: &'a mut Form,
    archive: &'a mut Vec<u8>,
}

impl Parts for Filling<'_> {
    fn part(&mut self, part: Part) -> Result<(), SubmissionError> {
        match Field::in_form(&part.name) {
            Some(Field::Archive) => {
                self.form.fields.set(Field::Archive, "")?;
                part.file_name.map_or(Ok(()), |name| {
                    self.form.fields.set(Field::SourceName, &name)
                })
            }
            Some(field) => {
                self.form.text = Some((field, Vec::new()));
                Ok(())
            }
            None if part.name == "source_data" => Err(SubmissionError::SourceDataInForm),
            None => Err(SubmissionError::UnknownField { name: part.name }),
        }
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), SubmissionError> {
        let Some((field, text)) = &mut self.form.text else {
            self.archive.extend_from_slice(bytes);
            return Ok(());
        };
        check_length(*field, text.len() + bytes.len())?;
        text.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<(), SubmissionError> {
        let Some((field, text)) = self.form.text.take() else {
            return Ok(());
        };
        let text = String::from_utf8(text).map_err(|_| SubmissionError::FieldNotUtf8 { field })?;
        self.form.fields.set(field, &text)
    }
}
