//! Reads a submission in either of its two formats.
//!
//! * In: a Content-Type, then the body, cut anywhere.
//! * Out: the archive's bytes while they come, then [`Submitted`].
//! * Never: I/O, or memory that grows with the body.

use super::error::{FormError, SubmissionError};
use super::fields::Submitted;
use super::form::FormDecoder;
use super::json::JsonDecoder;
use super::limits::{MAX_FORM_BODY_BYTES, MAX_JSON_BODY_BYTES};
use super::parameters::{Parameterised, essence};

/// A reader of the body of one submission.
#[derive(Debug)]
pub struct Decoder(Representation);

#[derive(Debug)]
enum Representation {
    Json(JsonDecoder),
    Form(Box<FormDecoder>),
}

impl Decoder {
    /// Returns a reader of a body of this Content-Type.
    ///
    /// # Errors
    /// The type is neither `application/json` nor `multipart/form-data` with a boundary.
    pub fn new(content_type: &str) -> Result<Self, SubmissionError> {
        let unsupported = || SubmissionError::ContentTypeUnsupported {
            given: content_type.to_owned(),
        };
        let parsed = Parameterised::parse(content_type);
        match (essence(content_type).as_str(), &parsed) {
            ("application/json", Some(_)) => Ok(Self(Representation::Json(JsonDecoder::default()))),
            ("multipart/form-data", _) => {
                let boundary = parsed
                    .as_ref()
                    .and_then(|parsed| parsed.one("boundary").ok().flatten());
                let boundary = boundary.ok_or(FormError::Boundary)?;
                let decoder = FormDecoder::new(boundary)?;
                Ok(Self(Representation::Form(Box::new(decoder))))
            }
            _ => Err(unsupported()),
        }
    }

    /// Returns the length of the longest body of this type, in bytes.
    pub fn max_body_bytes(&self) -> u64 {
        match self.0 {
            Representation::Json(_) => MAX_JSON_BODY_BYTES,
            Representation::Form(_) => MAX_FORM_BODY_BYTES,
        }
    }

    /// Takes the next bytes of the body and appends the bytes of the archive that they complete to
    /// `archive`: at most as many as `input` has and an earlier call held back, which is less than
    /// a kilobyte.
    ///
    /// # Errors
    /// The submission is refused already.
    pub fn feed(&mut self, input: &[u8], archive: &mut Vec<u8>) -> Result<(), SubmissionError> {
        match &mut self.0 {
            Representation::Json(decoder) => decoder.feed(input, archive),
            Representation::Form(decoder) => decoder.feed(input, archive),
        }
    }

    /// Returns whether an archive has begun, perhaps an empty one.
    pub fn has_archive(&self) -> bool {
        match &self.0 {
            Representation::Json(decoder) => decoder.has_archive(),
            Representation::Form(decoder) => decoder.has_archive(),
        }
    }

    /// Returns the submission, when the body is complete.
    ///
    /// # Errors
    /// The submission is incomplete or invalid.
    pub fn finish(self) -> Result<Submitted, SubmissionError> {
        match self.0 {
            Representation::Json(decoder) => decoder.finish(),
            Representation::Form(decoder) => decoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::{MAX_FIELD_BYTES, MAX_JSON_FIELDS_BYTES, MAX_SOURCE_NAME_BYTES};
    use super::super::{Field, SubmittedSource};
    use super::*;
    use crate::provenance::NonceSource;

    const JSON: &str = "application/json";
    const FORM: &str = "multipart/form-data; boundary=XX";

    type Outcome = Result<(Submitted, Vec<u8>), SubmissionError>;

    fn decode_pieces<'a>(content_type: &str, pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
        let (mut decoder, mut archive) = (Decoder::new(content_type)?, Vec::new());
        for piece in pieces {
            decoder.feed(piece, &mut archive)?;
        }
        Ok((decoder.finish()?, archive))
    }

    /// The outcome, which is the same for the whole body, single bytes and every cut into two.
    fn decode(content_type: &str, body: &[u8]) -> Outcome {
        let comparable = |outcome: &Outcome| match outcome {
            Ok((submitted, archive)) => Ok((format!("{:?}", submitted.source), archive.clone())),
            Err(error) => Err((error.code(), error.to_string())),
        };
        let whole = decode_pieces(content_type, [body].into_iter());
        assert_eq!(
            comparable(&decode_pieces(content_type, body.chunks(1))),
            comparable(&whole)
        );
        for cut in 0..body.len().min(2000) {
            let (head, tail) = body.split_at(cut);
            let cut = decode_pieces(content_type, [head, tail].into_iter());
            assert_eq!(comparable(&cut), comparable(&whole));
        }
        whole
    }

    fn code(content_type: &str, body: impl AsRef<[u8]>) -> &'static str {
        decode(content_type, body.as_ref()).unwrap_err().code()
    }

    fn part(disposition: &str, content: &str) -> String {
        format!("--XX\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n")
    }

    fn form(parts: &[(&str, &str)]) -> String {
        parts
            .iter()
            .map(|(disposition, content)| part(disposition, content))
            .collect::<String>()
            + "--XX--\r\n"
    }

    fn archive_name(submitted: &Submitted) -> Option<&str> {
        match &submitted.source {
            SubmittedSource::Archive { name } => name.as_deref(),
            SubmittedSource::Repository { .. } => panic!("a repository"),
        }
    }

    #[test]
    fn takes_only_the_two_types() {
        for good in [
            JSON,
            "Application/JSON; charset=utf-8",
            FORM,
            "multipart/form-data; charset=x; Boundary=\"a b\"",
        ] {
            assert!(Decoder::new(good).is_ok(), "{good}");
        }
        for (bad, code) in [
            ("text/json", "content-type-unsupported"),
            ("", "content-type-unsupported"),
            ("application/json, text/html", "content-type-unsupported"),
            ("application/json; x", "content-type-unsupported"),
            ("multipart/mixed; boundary=XX", "content-type-unsupported"),
            ("multipart/form-data", "form-malformed"),
            ("multipart/form-data; boundary=\"\"", "form-malformed"),
            ("multipart/form-data; boundary=", "form-malformed"),
            ("multipart/form-data; boundary=\"x", "form-malformed"),
            ("Multipart/Form-Data; boundary=a/b", "form-malformed"),
            (
                "multipart/form-data; boundary=\"ends in space \"",
                "form-malformed",
            ),
            ("multipart/form-data; boundary=\"a\\\"b\"", "form-malformed"),
            (
                "multipart/form-data; boundary=a; boundary=b",
                "form-malformed",
            ),
            (
                &format!("multipart/form-data; boundary={}", "x".repeat(71)),
                "form-malformed",
            ),
        ] {
            assert_eq!(Decoder::new(bad).unwrap_err().code(), code, "{bad}");
        }
        assert!(Decoder::new(&format!("multipart/form-data; boundary={}", "x".repeat(70))).is_ok());
    }

    #[test]
    fn reads_a_repository_from_json() {
        let body = br#" {"nonce" : "AB01", "repo_url":"https:\/\/example.org\/a", "ref": "v1", "source_name": null} "#;
        let (submitted, archive) = decode(JSON, body).unwrap();
        assert_eq!(submitted.nonce.to_string(), "ab01");
        assert_eq!(submitted.nonce_source, NonceSource::Client);
        let SubmittedSource::Repository { url, reference, .. } = submitted.source else {
            panic!("an archive")
        };
        assert_eq!(
            (url.as_str(), reference.unwrap().as_str()),
            ("https://example.org/a", "v1")
        );
        assert!(archive.is_empty());
    }

    #[test]
    fn a_field_that_is_null_is_not_given() {
        for body in [
            r#"{"nonce":"00","repo_url":"https://a.b/c","ref":null,"repo_ref":"v1"}"#,
            r#"{"nonce":"00","repo_url":"https://a.b/c","repo_ref":"v1","ref":null}"#,
            r#"{"source_data":null,"source_name":null,"ref":"v1","nonce":"00","repo_url":"https://a.b/c"}"#,
        ] {
            let (submitted, _) = decode(JSON, body.as_bytes()).unwrap();
            let SubmittedSource::Repository { reference, .. } = submitted.source else {
                panic!("an archive")
            };
            assert_eq!(reference.unwrap().as_str(), "v1", "{body}");
        }
        let body =
            br#"{"repo_ref":null,"ref":null,"repo_url":null,"source_data":"QQ==","nonce":"00"}"#;
        let (submitted, archive) = decode(JSON, body).unwrap();
        assert_eq!(
            (archive_name(&submitted), archive.as_slice()),
            (None, &b"A"[..])
        );
    }

    #[test]
    fn reads_an_archive_from_json_with_escapes_in_key_and_value() {
        for body in [
            &br#"{"source_name":"a.zip","nonce":"00","source_data":"+/8="}"#[..],
            br#"{"source_data":"\u002b\/\u0038=","nonce":"00","source_name":"a.zip"}"#,
            br#"{"nonce":"00","\u0073ource\u005Fdata" : "+/8=" , "source_name":"\u0061.zip"}"#,
        ] {
            let (submitted, archive) = decode(JSON, body).unwrap();
            assert_eq!(
                (archive_name(&submitted), archive.as_slice()),
                (Some("a.zip"), &[0xfb, 0xff][..])
            );
        }
    }

    #[test]
    fn an_empty_archive_is_an_archive() {
        let (submitted, archive) = decode(JSON, br#"{"nonce":"00","source_data":""}"#).unwrap();
        assert_eq!((archive_name(&submitted), archive.len()), (None, 0));
        let (submitted, archive) = decode(
            FORM,
            form(&[("name=source; filename=a.zip", "")]).as_bytes(),
        )
        .unwrap();
        assert_eq!(
            (archive_name(&submitted), archive.len()),
            (Some("a.zip"), 0)
        );
    }

    #[test]
    fn an_empty_part_of_a_form_is_not_given() {
        let unused = [
            ("name=nonce", ""),
            ("name=repo_url", ""),
            ("name=repo_ref", ""),
            ("name=ref", ""),
            ("name=source; filename=\"\"", ""),
            ("name=source", ""),
        ];
        let between = |given: &[(&str, &str)]| form(&[&unused[..], given, &unused[..]].concat());

        let body = between(&[
            ("name=nonce", "00"),
            ("name=repo_url", "https://a.b/c"),
            ("name=ref", "v1"),
        ]);
        let (submitted, archive) = decode(FORM, body.as_bytes()).unwrap();
        assert_eq!(submitted.nonce_source, NonceSource::Client);
        let SubmittedSource::Repository { reference, .. } = &submitted.source else {
            panic!("an archive")
        };
        assert_eq!(
            (reference.as_ref().unwrap().as_str(), archive.len()),
            ("v1", 0)
        );

        for (disposition, name) in [
            ("name=source; filename=a.zip", Some("a.zip")),
            ("name=source; filename=\"\"", None),
            ("name=source", None),
        ] {
            let body = between(&[(disposition, "PK")]);
            let (submitted, archive) = decode(FORM, body.as_bytes()).unwrap();
            assert_eq!(submitted.nonce_source, NonceSource::Appliance);
            assert_eq!(
                (archive_name(&submitted), archive.as_slice()),
                (name, &b"PK"[..])
            );
        }

        assert_eq!(code(FORM, form(&unused)), "source-missing");
        let unknown = [("name=repo_url", "https://a.b/c"), ("name=color", "")];
        assert_eq!(code(FORM, form(&unknown)), "unknown-field");
    }

    #[test]
    fn reads_the_options_of_both_formats() {
        let json = br#"{"nonce":"00","repo_url":"https://a.b/c","toolchain":"cargo","path":"a/b","package":"p",
            "bins":["x","y"],"features":["f","g/h"],"no_default_features":true,"attribute":null,"caches":null}"#;
        let (of_json, _) = decode(JSON, json).unwrap();
        let parts = [
            ("name=repo_url", "https://a.b/c"),
            ("name=toolchain", "cargo"),
            ("name=path", "a/b"),
            ("name=package", "p"),
            ("name=bins", "x,y"),
            ("name=features", "f,g/h"),
            ("name=no_default_features", "true"),
            ("name=attribute", ""),
        ];
        let (of_form, _) = decode(FORM, form(&parts).as_bytes()).unwrap();
        assert_eq!(of_json.options, of_form.options);
        let record = serde_json::to_value(of_json.options.record()).unwrap();
        let expected = serde_json::json!({
            "toolchain": "cargo", "path": "a/b", "package": "p", "bins": ["x", "y"], "features": ["f", "g/h"],
            "noDefaultFeatures": true,
        });
        assert_eq!(record, expected);
        let key = format!("k:{}=", "A".repeat(43));
        let json = format!(
            r#"{{"nonce":"00","repo_url":"https://a.b/c","attribute":"x","caches":[{{"url":"https://c","key":"{key}"}}]}}"#
        );
        let (submitted, _) = decode(JSON, json.as_bytes()).unwrap();
        let record = serde_json::to_value(submitted.options.record()).unwrap();
        let expected =
            serde_json::json!({"attribute": "x", "caches": [{"url": "https://c", "key": key}]});
        assert_eq!(record, expected);
    }

    #[test]
    fn refuses_options() {
        let key = format!("k:{}=", "A".repeat(43));
        let other_key = format!("k:B{}=", "A".repeat(42));
        for (option, expected) in [
            (r#""toolchain":"make""#, "option-invalid"),
            (r#""toolchain":"""#, "option-invalid"),
            (r#""toolchain":true"#, "field-invalid"),
            (r#""path":"../a""#, "option-invalid"),
            (r#""path":"/a""#, "option-invalid"),
            (r#""package":"a*""#, "option-invalid"),
            (r#""bins":"a,b""#, "field-invalid"),
            (r#""bins":["a,b"]"#, "option-invalid"),
            (r#""bins":[1]"#, "field-invalid"),
            (r#""features":["--x"]"#, "option-invalid"),
            (r#""features":{}"#, "field-invalid"),
            (r#""no_default_features":"true""#, "field-invalid"),
            (r#""noDefaultFeatures":true"#, "unknown-field"),
            (r#""attribute":"a^b""#, "option-invalid"),
            (r#""attribute":["a"]"#, "field-invalid"),
            (r#""caches":[{"url":"https://c"}]"#, "field-invalid"),
            (
                &format!(r#""caches":[{{"url":"https://c?x","key":"{key}"}}]"#),
                "option-invalid",
            ),
            (
                &format!(r#""caches":[{{"url":"https://c","key":"{key}","more":1}}]"#),
                "field-invalid",
            ),
            (
                &format!(
                    r#""caches":[{{"url":"https://c","key":"{key}"}},{{"url":"https://d","key":"{other_key}"}}]"#
                ),
                "option-invalid",
            ),
            (r#""features":["a"],"features":["a"]"#, "field-repeated"),
            (r#""toolchain":"cargo","attribute":"a""#, "option-mismatch"),
            (r#""attribute":"a","toolchain":"cargo""#, "option-mismatch"),
            (
                r#""toolchain":"nix","no_default_features":false"#,
                "option-mismatch",
            ),
            (r#""bins":["a"],"caches":[]"#, "option-mismatch"),
        ] {
            let body = format!(r#"{{"nonce":"00","repo_url":"https://a.b/c",{option}}}"#);
            assert_eq!(code(JSON, &body), expected, "{body}");
        }
        let long = format!(
            r#"{{"nonce":"00","features":["{}"]}}"#,
            "x".repeat(MAX_FIELD_BYTES)
        );
        assert_eq!(code(JSON, &long), "field-too-large");
        for (part, value, expected) in [
            ("name=no_default_features", "yes", "field-invalid"),
            ("name=features", "a,,b", "option-invalid"),
            ("name=features", "a, b", "option-invalid"),
            ("name=caches", "[]", "unknown-field"),
        ] {
            let body = form(&[("name=repo_url", "https://a.b/c"), (part, value)]);
            assert_eq!(code(FORM, &body), expected, "{part}: {value}");
        }
    }

    #[test]
    fn refuses_json_that_is_no_object() {
        for body in [
            &b""[..],
            b"null",
            b"[]",
            b"\"source_data\"",
            b"{",
            b"{\"nonce\":\"00\"",
            b"\xef\xbb\xbf{\"nonce\":\"00\",\"source_data\":\"\"}",
            b"{\"nonce\":\"00\",\"source_data\":\"\"}x",
            b"{\"nonce\":\"00\",\"source_data\":\"\"}{}",
            b"{\"nonce\":\"00\",\"source_data\":\"\",}",
            b"{\"nonce\":\"00\" \"source_data\":\"\"}",
            b"{\"nonce\":\"00\",\"source_data\"\"\":\"\"}",
            b"{\"nonce\":\"0\n0\",\"source_data\":\"\"}",
            b"{\"nonce\":\"\xff\",\"source_data\":\"\"}",
            b"{\"nonce\":\"\\ud800\",\"source_data\":\"\"}",
            b"{'nonce':'00'}",
            b"{\"nonce\":\"00\",\"source_data\":\"QQ==",
            b"{\"nonce\":\"00\",\"source_data\":\"QQ==\\",
        ] {
            assert_eq!(
                code(JSON, body),
                "json-malformed",
                "{:?}",
                String::from_utf8_lossy(body)
            );
        }
        let deep = format!("{{\"nonce\":{}", "[".repeat(10_000));
        assert_eq!(
            decode_pieces(JSON, [deep.as_bytes()].into_iter())
                .unwrap_err()
                .code(),
            "json-malformed"
        );
    }

    #[test]
    fn refuses_json_fields() {
        for (body, expected) in [
            (
                r#"{"nonce":"00","repo_url":"https://a.b/c","color":"red"}"#,
                "unknown-field",
            ),
            (r#"{"source":"QQ==","nonce":"00"}"#, "unknown-field"),
            (r#"{"nonce":"00","Source_Data":"QQ=="}"#, "unknown-field"),
            (
                r#"{"nonce":"00","x":{"source_data":"QQ=="}}"#,
                "unknown-field",
            ),
            (
                r#"{"nonce":"00","nonce":"00","source_data":""}"#,
                "field-repeated",
            ),
            (
                r#"{"nonce":"00","nonc\u0065":null,"source_data":""}"#,
                "field-repeated",
            ),
            (
                r#"{"nonce":"00","source_data":"","source_data":""}"#,
                "field-repeated",
            ),
            (
                r#"{"nonce":"00","source_data":null,"source_data":""}"#,
                "field-repeated",
            ),
            (
                r#"{"nonce":"00","source_data":"","source_data":null}"#,
                "field-repeated",
            ),
            (
                r#"{"nonce":"00","repo_url":"https://a.b/c","ref":"a","repo_ref":"a"}"#,
                "field-repeated",
            ),
            (
                r#"{"nonce":"00","repo_url":"https://a.b/c","ref":null,"ref":null}"#,
                "field-repeated",
            ),
            (r#"{"nonce":0,"repo_url":"https://a.b/c"}"#, "field-invalid"),
            (
                r#"{"nonce":"00","repo_url":["https://a.b/c"]}"#,
                "field-invalid",
            ),
            (
                r#"{"nonce":"00","source_data":{"source_data":"QQ=="}}"#,
                "field-invalid",
            ),
            (r#"{"nonce":"00","source_data":true}"#, "field-invalid"),
            (r#"{"repo_url":"https://a.b/c"}"#, "nonce-missing"),
            (
                r#"{"nonce":null,"repo_url":"https://a.b/c"}"#,
                "nonce-missing",
            ),
            (
                r#"{"nonce":"","repo_url":"https://a.b/c"}"#,
                "nonce-invalid",
            ),
            (
                r#"{"nonce":"0","repo_url":"https://a.b/c"}"#,
                "nonce-invalid",
            ),
            (
                r#"{"nonce":"zz","repo_url":"https://a.b/c"}"#,
                "nonce-invalid",
            ),
            (
                r#"{"nonce":"0000000000000000000000000000000000","repo_url":"https://a.b/c"}"#,
                "nonce-invalid",
            ),
            (
                r#"{"nonce":"00","repo_url":"ssh://a.b/c"}"#,
                "repository-url-invalid",
            ),
            (
                r#"{"nonce":"00","repo_url":"https://a.b/c","ref":"-x"}"#,
                "ref-invalid",
            ),
            (r#"{"nonce":"00"}"#, "source-missing"),
            (r#"{"nonce":"00","ref":"main"}"#, "source-missing"),
            (
                r#"{"nonce":"00","source_data":"","repo_url":"https://a.b/c"}"#,
                "source-ambiguous",
            ),
            (
                r#"{"nonce":"00","source_data":"","ref":"main"}"#,
                "ref-without-repository",
            ),
            (
                r#"{"nonce":"00","repo_url":"https://a.b/c","source_name":"a"}"#,
                "source-name-without-archive",
            ),
            (
                r#"{"nonce":"00","source_data":"","source_name":"a\u0000b"}"#,
                "source-name-invalid",
            ),
            (r#"{"nonce":"00","source_data":"Q"}"#, "source-data-invalid"),
            (
                r#"{"nonce":"00","source_data":"QQ"}"#,
                "source-data-invalid",
            ),
            (r#"{"nonce":"00","source_data":"QQ=="#, "json-malformed"),
            (
                r#"{"nonce":"00","source_data":"QUFB\nQUFB"}"#,
                "source-data-invalid",
            ),
            (
                r#"{"nonce":"00","source_data":"QUFB QUFB"}"#,
                "source-data-invalid",
            ),
            (
                r#"{"nonce":"00","source_data":"-_-_"}"#,
                "source-data-invalid",
            ),
            (
                r#"{"nonce":"00","source_data":"\u0141AAA"}"#,
                "source-data-invalid",
            ),
            (
                r#"{"nonce":"00","source_data":"\u00zzAA"}"#,
                "source-data-invalid",
            ),
            (
                r#"{"nonce":"00","source_data":"\xAAA"}"#,
                "source-data-invalid",
            ),
            (
                r#"{"nonce":"00","source_data":"\"AAA"}"#,
                "source-data-invalid",
            ),
        ] {
            assert_eq!(code(JSON, body), expected, "{body}");
        }
    }

    #[test]
    fn names_the_field_that_it_does_not_know() {
        let error = decode(JSON, br#"{"color":"red"}"#).unwrap_err();
        assert_eq!(error.to_string(), "the field \"color\" is unknown");
        let error = decode(FORM, form(&[("name=\"color\"", "red")]).as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "the field \"color\" is unknown");
    }

    #[test]
    fn refuses_before_the_archive_what_it_cannot_mend() {
        for (start, expected) in [
            (r#"{"nonce":"zz","source_data":"#, "nonce-invalid"),
            (
                r#"{"repo_url":"https://a.b/c","source_data":"#,
                "source-ambiguous",
            ),
            (r#"{"ref":"main","source_data":"#, "ref-without-repository"),
            (r#"{"color":1,"source_data":"#, "unknown-field"),
            (r#"{"nonce" "source_data":"#, "json-malformed"),
        ] {
            let mut decoder = Decoder::new(JSON).unwrap();
            decoder.feed(start.as_bytes(), &mut Vec::new()).unwrap();
            assert_eq!(
                decoder
                    .feed(b"\"", &mut Vec::new())
                    .map_err(|error| error.code()),
                Err(expected),
                "{start}"
            );
        }
        let mut decoder = Decoder::new(FORM).unwrap();
        let started = part("name=nonce", "zz");
        assert_eq!(
            decoder
                .feed(started.as_bytes(), &mut Vec::new())
                .map_err(|error| error.code()),
            Ok(())
        );
        assert_eq!(
            decoder.feed(b"--XX", &mut Vec::new()).unwrap_err().code(),
            "nonce-invalid"
        );
    }

    #[test]
    fn limits_what_stays_in_memory() {
        let spaces = " ".repeat(MAX_JSON_FIELDS_BYTES);
        let body = format!("{{{spaces}\"nonce\":\"00\"}}");
        assert_eq!(
            decode_pieces(JSON, [body.as_bytes()].into_iter())
                .unwrap_err()
                .code(),
            "fields-too-large"
        );

        let url = |bytes: usize| format!("https://{}", "a".repeat(bytes - 8));
        for (bytes, fits) in [(MAX_FIELD_BYTES, true), (MAX_FIELD_BYTES + 1, false)] {
            let json = format!(r#"{{"nonce":"00","repo_url":"{}"}}"#, url(bytes));
            let form = form(&[("name=repo_url", &url(bytes))]);
            for (kind, body) in [(JSON, json), (FORM, form)] {
                let outcome = decode_pieces(kind, [body.as_bytes()].into_iter());
                let too_large = matches!(
                    outcome,
                    Err(SubmissionError::FieldTooLarge {
                        field: Field::RepositoryUrl,
                        ..
                    })
                );
                assert_eq!(too_large, !fits, "{kind} {bytes}");
            }
        }

        let name = "n".repeat(MAX_SOURCE_NAME_BYTES + 1);
        assert_eq!(
            code(
                FORM,
                form(&[(&format!("name=source; filename={name}"), "")])
            ),
            "field-too-large"
        );
        assert!(
            decode(
                FORM,
                form(&[(&format!("name=source; filename={}", &name[1..]), "")]).as_bytes()
            )
            .is_ok()
        );
    }

    #[test]
    fn reads_an_archive_from_a_form() {
        let body = form(&[
            (
                "name=\"source\"; filename=\"a \\\"b\\\".zip\"",
                "\r\n--X\r\r\n-\n",
            ),
            ("name=nonce", "0A"),
        ]);
        let (submitted, archive) = decode(FORM, body.as_bytes()).unwrap();
        assert_eq!(
            (archive_name(&submitted), archive.as_slice()),
            (Some("a \"b\".zip"), &b"\r\n--X\r\r\n-\n"[..])
        );
        assert_eq!(
            (submitted.nonce.to_string().as_str(), submitted.nonce_source),
            ("0a", NonceSource::Client)
        );
    }

    #[test]
    fn draws_a_nonce_for_a_form_without_one() {
        let body = form(&[
            ("name=repo_url", "https://a.b/c"),
            ("name=repo_ref", "main"),
        ]);
        let (first, _) = decode(FORM, body.as_bytes()).unwrap();
        let (second, _) = decode(FORM, body.as_bytes()).unwrap();
        assert_eq!(
            (first.nonce_source, first.nonce.to_string().len()),
            (NonceSource::Appliance, 32)
        );
        assert_ne!(first.nonce, second.nonce);
    }

    #[test]
    fn refuses_form_fields() {
        let repository = ("name=repo_url", "https://a.b/c");
        let source = ("name=source; filename=a.zip", "PK");
        for (parts, expected) in [
            (vec![repository, ("name=color", "red")], "unknown-field"),
            (vec![repository, ("name=source_name", "x")], "unknown-field"),
            (vec![repository, ("name=Nonce", "00")], "unknown-field"),
            (vec![("name=source_data", "QQ==")], "source-data-in-form"),
            (vec![repository, repository], "field-repeated"),
            (vec![source, source], "field-repeated"),
            (
                vec![repository, ("name=ref", "a"), ("name=repo_ref", "a")],
                "field-repeated",
            ),
            (vec![repository, source], "source-ambiguous"),
            (vec![source, repository], "source-ambiguous"),
            (vec![source, ("name=ref", "a")], "ref-without-repository"),
            (vec![("name=nonce", "00")], "source-missing"),
            (vec![], "source-missing"),
            (
                vec![repository, ("name=source; filename=a.zip", "")],
                "source-ambiguous",
            ),
            (vec![("name=source", "P"), repository], "source-ambiguous"),
            (vec![repository, ("name=nonce", " 00")], "nonce-invalid"),
            (
                vec![("name=repo_url", "file:///etc")],
                "repository-url-invalid",
            ),
            (vec![repository, ("name=ref", "-x")], "ref-invalid"),
            (
                vec![("name=source; filename=\"a\u{7f}b\"", "")],
                "form-malformed",
            ),
            (
                vec![("name=source; filename=\"a\u{85}b\"", "")],
                "source-name-invalid",
            ),
        ] {
            assert_eq!(code(FORM, form(&parts)), expected, "{parts:?}");
        }
        let mut body = form(&[repository, ("name=nonce", "@@")]).into_bytes();
        for byte in &mut body {
            *byte = if *byte == b'@' { 0xff } else { *byte };
        }
        assert_eq!(code(FORM, body), "field-invalid");
    }
}
