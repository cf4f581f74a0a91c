//! Listing objects (`ListObjectsV2`) and removing them (`DeleteObjects`).

use data_encoding::BASE64;
use md5::{Digest, Md5};
use reqwest::Method;
use talon_core::cloud::{BucketRef, CallCx, CloudError, CloudResult, ObjectPage};

use super::{Session, Unsigned, call, document, keys, xml};
use crate::client::Client;
use crate::message::own;

/// S3's limit, for pages and for deletions.
const MOST_KEYS: usize = 1000;

impl Client {
    /// Always the first page: what is listed is about to be deleted, so the next first page is the next page.
    pub(crate) async fn s3_list_objects(
        &self,
        cx: CallCx,
        bucket: &BucketRef,
    ) -> CloudResult<ObjectPage> {
        let session = self.s3_session(cx).await?;
        self.s3_list_with(&session, bucket).await
    }

    /// The same with given credentials.
    pub(crate) async fn s3_list_with(
        &self,
        session: &Session,
        bucket: &BucketRef,
    ) -> CloudResult<ObjectPage> {
        let call = call("S3 list objects", Method::GET);
        let query = [
            ("list-type", "2"),
            // XML cannot carry every key.
            ("encoding-type", "url"),
            ("max-keys", "1000"),
        ];
        let unsigned = Unsigned {
            method: Method::GET,
            url: self.s3_url(&call, bucket, None, &query)?,
            headers: Vec::new(),
            body: Vec::new(),
        };
        let answer = self.s3(session, &call, &unsigned).await?;
        let doc = document(&call, &answer, "ListBucketResult")?;
        let encoded = doc.text_of("EncodingType") == Some("url");
        Ok(ObjectPage {
            keys: doc
                .all("Contents")
                .filter_map(|c| c.text_of("Key"))
                .map(|k| {
                    if encoded {
                        keys::decode(k)
                    } else {
                        k.to_owned()
                    }
                })
                .collect(),
            truncated: doc.text_of("IsTruncated").map(str::trim) == Some("true"),
        })
    }

    /// Keys that XML can express go in one request, the others one by one. The keys that were not removed come back;
    /// an error means that none was, or that it is unknown.
    pub(crate) async fn s3_delete_objects(
        &self,
        cx: CallCx,
        bucket: &BucketRef,
        keys: &[String],
    ) -> CloudResult<Vec<String>> {
        let call = call("S3 delete objects", Method::POST);
        if keys.len() > MOST_KEYS {
            return Err(CloudError::Invalid(own(
                call.name,
                "one call removes at most 1000 objects; not sent",
            )));
        }
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let session = self.s3_session(cx).await?;
        let mut body = String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
             <Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>",
        );
        let mut singly = Vec::new();
        for key in keys {
            match xml::escape(key) {
                Some(escaped) => {
                    body.push_str("<Object><Key>");
                    body.push_str(&escaped);
                    body.push_str("</Key></Object>");
                }
                None => singly.push(key.as_str()),
            }
        }
        body.push_str("</Delete>");
        let mut left = Vec::new();
        if singly.len() < keys.len() {
            left = self.delete_together(&session, bucket, body).await?;
        }
        let mut last_error = None;
        for key in &singly {
            if let Err(error) = self.delete_one(&session, bucket, key).await {
                left.push((*key).to_owned());
                last_error = Some(error);
            }
        }
        match last_error {
            Some(error) if singly.len() == keys.len() && left.len() == keys.len() => Err(error),
            _ => Ok(left),
        }
    }

    async fn delete_together(
        &self,
        session: &Session,
        bucket: &BucketRef,
        body: String,
    ) -> CloudResult<Vec<String>> {
        let call = call("S3 delete objects", Method::POST);
        let unsigned = Unsigned {
            method: Method::POST,
            url: self.s3_url(&call, bucket, None, &[("delete", "")])?,
            headers: vec![
                ("content-md5", BASE64.encode(&Md5::digest(body.as_bytes()))),
                ("content-type", "application/xml".to_owned()),
            ],
            body: body.into_bytes(),
        };
        let answer = self.s3(session, &call, &unsigned).await?;
        let doc = document(&call, &answer, "DeleteResult")?;
        Ok(doc
            .all("Error")
            .filter(|e| e.text_of("Code") != Some("NoSuchKey"))
            .filter_map(|e| e.text_of("Key"))
            .map(str::to_owned)
            .collect())
    }

    async fn delete_one(
        &self,
        session: &Session,
        bucket: &BucketRef,
        key: &str,
    ) -> CloudResult<()> {
        let call = call("S3 delete object", Method::DELETE);
        let unsigned = Unsigned {
            method: Method::DELETE,
            url: self.s3_url(&call, bucket, Some(key), &[])?,
            headers: Vec::new(),
            body: Vec::new(),
        };
        self.s3(session, &call, &unsigned).await.map(drop)
    }

    /// Stores a small object; only `verify` needs it.
    pub(crate) async fn s3_put_object(
        &self,
        cx: CallCx,
        bucket: &BucketRef,
        key: &str,
    ) -> CloudResult<()> {
        let session = self.s3_session(cx).await?;
        let call = call("S3 put object", Method::PUT);
        let unsigned = Unsigned {
            method: Method::PUT,
            url: self.s3_url(&call, bucket, Some(key), &[])?,
            headers: vec![("content-type", "text/plain".to_owned())],
            body: b"x".to_vec(),
        };
        self.s3(&session, &call, &unsigned).await.map(drop)
    }
}
