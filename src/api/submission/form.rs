//! Reads a submission as a form.
//!
//! * In: the parts of a multipart body.
//! * Out: the archive's bytes while they come, and the fields.
//! * Never: a part with a name or content that was passed over without a check.
//!
//! Browsers send every field of a form, also those that nobody filled in: an empty part counts as
//! not given, and so does a `source` with neither a file name nor a byte.

use super::error::{FormError, SubmissionError};
use super::field::Field;
use super::fields::{Fields, Submitted, WithoutNonce, check_length};
use super::multipart::{Part, Parts, Reader};
use super::value::FieldValue;

/// A reader of the fields of one form.
#[derive(Debug)]
pub(super) struct FormDecoder {
    reader: Reader,
    form: Form,
}

#[derive(Debug, Default)]
struct Form {
    fields: Fields,
    reading: Reading,
}

/// The part that is being read.
#[derive(Debug, Default)]
enum Reading {
    #[default]
    Nothing,
    /// A text field, and its text so far.
    Text(Field, Vec<u8>),
    /// `source` without a file name, of which no byte has come yet.
    UnnamedArchive,
    /// `source`, which counts as given.
    Archive,
}

impl FormDecoder {
    /// Returns a reader of a form whose parts are separated by `boundary`.
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

    /// Returns whether the form has an archive, perhaps an empty one.
    pub(super) fn has_archive(&self) -> bool {
        self.form.fields.has_archive()
    }

    /// Returns the submission, when the body is complete.
    pub(super) fn finish(self) -> Result<Submitted, SubmissionError> {
        self.reader.finish()?;
        self.form.fields.finish(WithoutNonce::Draw)
    }
}

/// A form with the buffer that its archive goes to.
struct Filling<'a> {
    form: &'a mut Form,
    archive: &'a mut Vec<u8>,
}

impl Parts for Filling<'_> {
    fn part(&mut self, part: Part) -> Result<(), SubmissionError> {
        match Field::in_form(&part.name) {
            Some(Field::Archive) => self.source(part.file_name.as_deref().unwrap_or_default()),
            Some(field) => {
                self.form.reading = Reading::Text(field, Vec::new());
                Ok(())
            }
            None if part.name == "source_data" => Err(SubmissionError::SourceDataInForm),
            None => Err(SubmissionError::UnknownField { name: part.name }),
        }
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), SubmissionError> {
        if bytes.is_empty() {
            return Ok(());
        }
        match &mut self.form.reading {
            Reading::Text(field, text) => {
                check_length(*field, text.len() + bytes.len())?;
                text.extend_from_slice(bytes);
                return Ok(());
            }
            Reading::UnnamedArchive => self.begin_archive()?,
            Reading::Archive | Reading::Nothing => (),
        }
        self.archive.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<(), SubmissionError> {
        let Reading::Text(field, text) = std::mem::take(&mut self.form.reading) else {
            return Ok(());
        };
        if text.is_empty() {
            return Ok(());
        }
        let text = String::from_utf8(text).map_err(|_| SubmissionError::FieldNotUtf8 { field })?;
        let value = FieldValue::of_form(field, text);
        self.form.fields.set(field, value)
    }
}

impl Filling<'_> {
    /// Begins the part `source`, which has the archive.
    fn source(&mut self, file_name: &str) -> Result<(), SubmissionError> {
        if file_name.is_empty() {
            self.form.reading = Reading::UnnamedArchive;
            return Ok(());
        }
        self.begin_archive()?;
        let name = FieldValue::Text(file_name.to_owned());
        self.form.fields.set(Field::SourceName, name)
    }

    fn begin_archive(&mut self) -> Result<(), SubmissionError> {
        self.form.reading = Reading::Archive;
        let begun = FieldValue::Text(String::new());
        self.form.fields.set(Field::Archive, begun)
    }
}
