//! R2's S3 endpoint: only what emptying a bucket takes.
//!
//! Requests are signed in their headers (`sign`), never in the URL, and the body is part of the signature. Credentials
//! are derived from the controller's own token: its id is the access key, the SHA-256 of its value the secret.
//! S3 calls do not count against the API's budget.

mod keys;
mod objects;
pub(crate) mod sign;
mod uploads;
mod xml;

use chrono::Utc;
use reqwest::{Method, RequestBuilder};
use talon_core::cloud::{ApiMessage, BucketRef, CallCx, CloudError, CloudResult};
use talon_core::secret::SecretValue;
use talon_core::spec::Jurisdiction;
use url::Url;

use crate::client::{Client, READ_TRIES, Terms};
use crate::envelope::odd;
use crate::message::{clean, own, plain_words};
use crate::taxonomy::{Area, Call, Refusal, classify};
use crate::transport::{Answer, Lost, no_time, pause_before_retry, send};

/// A request before it is signed; signed afresh for each try.
#[derive(Debug)]
pub(crate) struct Unsigned {
    method: Method,
    url: Url,
    /// Sent and signed besides `host` and `x-amz-*`; names in lower case.
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// What a series of S3 calls shares.
pub(crate) struct Session {
    terms: Terms,
    key_id: String,
    secret: SecretValue,
}

impl Client {
    pub(crate) async fn s3_session(&self, cx: CallCx) -> CloudResult<Session> {
        let terms = Terms::from(cx);
        Ok(Session {
            terms,
            key_id: self.token_id(cx).await?,
            secret: SecretValue::new(self.token.sha256_hex()),
        })
    }

    /// Address of a bucket (`key` none) or of an object, with the query in canonical form.
    pub(crate) fn s3_url(
        &self,
        call: &Call,
        bucket: &BucketRef,
        key: Option<&str>,
        query: &[(&str, &str)],
    ) -> CloudResult<Url> {
        let invalid = |text: &str| CloudError::Invalid(own(call.name, text));
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if bucket.name.is_empty() || !bucket.name.bytes().all(plain) {
            return Err(invalid("not a bucket name; not sent"));
        }
        if key.is_some_and(|k| !keys::fits_a_path(k)) {
            return Err(invalid("the key cannot stand in a URL; not sent"));
        }
        let mut url = match &self.s3_endpoint {
            Some(fixed) => fixed.clone(),
            None => self
                .real_endpoint(bucket.jurisdiction)
                .map_err(|_| invalid("the account id makes no host name; not sent"))?,
        };
        let mut path = format!("{}/{}", url.path().trim_end_matches('/'), bucket.name);
        if let Some(key) = key {
            path.push('/');
            path.push_str(&sign::encode(key, true));
        }
        url.set_path(&path);
        if !query.is_empty() {
            url.set_query(Some(&sign::canonical_query(query)));
        }
        Ok(url)
    }

    fn real_endpoint(&self, jurisdiction: Jurisdiction) -> Result<Url, url::ParseError> {
        let part = match jurisdiction {
            Jurisdiction::Default => "",
            Jurisdiction::Eu => ".eu",
            Jurisdiction::Fedramp => ".fedramp",
        };
        Url::parse(&format!(
            "https://{}{part}.r2.cloudflarestorage.com",
            self.account_id
        ))
    }

    /// Sends; a read up to three times, a write once. An answer that is not a success is an error.
    pub(crate) async fn s3(
        &self,
        session: &Session,
        call: &Call,
        unsigned: &Unsigned,
    ) -> CloudResult<Answer> {
        let tries = if call.is_write() { 1 } else { READ_TRIES };
        let mut n = 1;
        loop {
            let (error, again) = match self.s3_once(session, call, unsigned).await {
                Ok(answer) if answer.is_success() => return Ok(answer),
                Ok(answer) => {
                    let again = answer.http >= 500;
                    (self.s3_refusal(session, call, &answer), again)
                }
                Err(lost) => (lost.error, lost.again),
            };
            if !again || n >= tries || matches!(error, CloudError::Throttled { .. }) {
                return Err(error);
            }
            pause_before_retry(n).await;
            if !session.has_time(call, self) {
                return Err(error);
            }
            n += 1;
        }
    }

    async fn s3_once(
        &self,
        session: &Session,
        call: &Call,
        unsigned: &Unsigned,
    ) -> Result<Answer, Lost> {
        let wanted = self.timeouts.request;
        let Some(timeout) = session.terms.deadline.timeout(call.is_write(), wanted) else {
            return no_time(call).map_err(|error| Lost {
                error,
                again: false,
            });
        };
        let answer = send(call, self.signed(session, unsigned), timeout).await?;
        tracing::debug!(call = call.name, http = answer.http, "r2 answered");
        Ok(answer)
    }

    fn signed(&self, session: &Session, unsigned: &Unsigned) -> RequestBuilder {
        let headers = sign::headers(
            unsigned,
            &session.key_id,
            &session.secret,
            Utc::now(),
            "auto",
        );
        let mut request = self
            .http
            .request(unsigned.method.clone(), unsigned.url.clone())
            .headers(headers);
        for (name, value) in &unsigned.headers {
            request = request.header(*name, value);
        }
        if unsigned.body.is_empty() {
            request
        } else {
            request.body(unsigned.body.clone())
        }
    }

    fn s3_refusal(&self, session: &Session, call: &Call, answer: &Answer) -> CloudError {
        let body = String::from_utf8_lossy(&answer.body);
        let error = xml::parse(&body).filter(|e| e.name == "Error");
        let word = error
            .as_ref()
            .and_then(|e| e.text_of("Code"))
            .map(str::to_owned);
        let said = error.as_ref().and_then(|e| e.text_of("Message"));
        let text = match (&word, said) {
            (Some(word), Some(said)) => format!("{word}: {said}"),
            (Some(word), None) => word.clone(),
            (None, _) if body.trim().is_empty() => "no explanation given".to_owned(),
            (None, _) => plain_words(&body),
        };
        let refusal = Refusal {
            message: ApiMessage {
                call: call.name,
                http: Some(answer.http),
                code: None,
                message: clean(&text, &[&self.token, &session.secret]),
                ray: answer.ray(),
            },
            from_api: error.is_some(),
            word,
            retry_after: answer.retry_after(),
        };
        classify(call, refusal)
    }
}

impl Session {
    /// With the credentials of another token than the controller's.
    pub(crate) fn of_token(cx: CallCx, id: &str, value: &SecretValue) -> Self {
        Self {
            terms: cx.into(),
            key_id: id.to_owned(),
            secret: SecretValue::new(value.sha256_hex()),
        }
    }

    /// Whether another call may be begun.
    pub(crate) fn has_time(&self, call: &Call, client: &Client) -> bool {
        let wanted = client.timeouts.request;
        self.terms
            .deadline
            .timeout(call.is_write(), wanted)
            .is_some()
    }
}

/// A call to S3.
pub(crate) fn call(name: &'static str, method: Method) -> Call {
    Call::new(name, method, Area::Storage)
}

/// The document of a successful answer, if it has the expected root.
pub(crate) fn document(call: &Call, answer: &Answer, root: &str) -> CloudResult<xml::Element> {
    std::str::from_utf8(&answer.body)
        .ok()
        .and_then(xml::parse)
        .filter(|e| e.name == root)
        .ok_or_else(|| {
            call.unclear(odd(
                call,
                answer,
                "the answer is not what S3 says here",
                &[],
            ))
        })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{ClientConfig, Unlimited};

    #[test]
    fn each_jurisdiction_has_its_own_host_unless_one_is_fixed() {
        let token = || SecretValue::new("a-token".into());
        let mut config = ClientConfig::new("acc", token()).unwrap();
        let real = Client::new(config, Arc::new(Unlimited)).unwrap();
        config = ClientConfig::new("acc", token()).unwrap();
        config.s3_endpoint = Url::parse("http://127.0.0.1:9/r2/").ok();
        let fixed = Client::new(config, Arc::new(Unlimited)).unwrap();
        let url = |client: &Client, jurisdiction| {
            let bucket = BucketRef {
                name: "b-1".into(),
                jurisdiction,
            };
            let call = call("test", Method::GET);
            let url = client.s3_url(&call, &bucket, None, &[]).unwrap();
            url.to_string()
        };
        for (jurisdiction, host) in [
            (Jurisdiction::Default, "acc.r2.cloudflarestorage.com"),
            (Jurisdiction::Eu, "acc.eu.r2.cloudflarestorage.com"),
            (
                Jurisdiction::Fedramp,
                "acc.fedramp.r2.cloudflarestorage.com",
            ),
        ] {
            assert_eq!(url(&real, jurisdiction), format!("https://{host}/b-1"));
            assert_eq!(url(&fixed, jurisdiction), "http://127.0.0.1:9/r2/b-1");
        }
    }
}
