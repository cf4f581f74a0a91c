//! Unfinished multipart uploads: they may keep a bucket from being deleted.

use reqwest::Method;
use talon_core::cloud::{BucketRef, CallCx, CloudResult, PendingUpload};

use super::{Unsigned, call, document, keys};
use crate::client::Client;
use crate::envelope::incomplete;

/// 100,000 uploads; more is a list that runs in circles.
const MOST_PAGES: usize = 100;

impl Client {
    /// All of them, page by page.
    pub(crate) async fn s3_list_uploads(
        &self,
        cx: CallCx,
        bucket: &BucketRef,
    ) -> CloudResult<Vec<PendingUpload>> {
        let session = self.s3_session(cx).await?;
        let call = call("S3 list uploads", Method::GET);
        let mut all = Vec::new();
        let mut marker: Option<(String, String)> = None;
        for _ in 0..MOST_PAGES {
            let mut query = vec![
                ("uploads", ""),
                ("encoding-type", "url"),
                ("max-uploads", "1000"),
            ];
            if let Some((key, id)) = &marker {
                query.push(("key-marker", key));
                query.push(("upload-id-marker", id));
            }
            let unsigned = Unsigned {
                method: Method::GET,
                url: self.s3_url(&call, bucket, None, &query)?,
                headers: Vec::new(),
                body: Vec::new(),
            };
            let answer = self.s3(&session, &call, &unsigned).await?;
            let doc = document(&call, &answer, "ListMultipartUploadsResult")?;
            let encoded = doc.text_of("EncodingType") == Some("url");
            let key = |k: &str| {
                if encoded {
                    keys::decode(k)
                } else {
                    k.to_owned()
                }
            };
            all.extend(doc.all("Upload").filter_map(|u| {
                Some(PendingUpload {
                    key: key(u.text_of("Key")?),
                    upload_id: u.text_of("UploadId")?.to_owned(),
                })
            }));
            let next = doc
                .text_of("NextKeyMarker")
                .map(key)
                .filter(|k| !k.is_empty());
            let next_id = doc.text_of("NextUploadIdMarker").unwrap_or_default();
            let more = doc.text_of("IsTruncated").map(str::trim) == Some("true");
            marker = match next.filter(|_| more) {
                Some(key) => Some((key, next_id.to_owned())),
                None => return Ok(all),
            };
        }
        Err(incomplete(&call, "the list of uploads does not end"))
    }

    pub(crate) async fn s3_abort_upload(
        &self,
        cx: CallCx,
        bucket: &BucketRef,
        upload: &PendingUpload,
    ) -> CloudResult<()> {
        let session = self.s3_session(cx).await?;
        let call = call("S3 abort upload", Method::DELETE);
        let query = [("uploadId", upload.upload_id.as_str())];
        let unsigned = Unsigned {
            method: Method::DELETE,
            url: self.s3_url(&call, bucket, Some(&upload.key), &query)?,
            headers: Vec::new(),
            body: Vec::new(),
        };
        self.s3(&session, &call, &unsigned).await.map(drop)
    }
}
