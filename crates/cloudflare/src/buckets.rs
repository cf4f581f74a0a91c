//! R2 buckets over the REST API. A bucket is visible only to calls that name its jurisdiction.

use chrono::{DateTime, Utc};
use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, Serialize};
use talon_core::cloud::{BucketInfo, BucketRef, CallCx, CloudResult, NewBucket};
use talon_core::spec::Jurisdiction;
use url::Url;

use crate::client::{Client, Terms};
use crate::envelope::{incomplete, typed};
use crate::lenient::{self, date_field, text_field};
use crate::taxonomy::{Area, Call};

/// Largest page.
const PER_PAGE: &str = "1000";
/// A million buckets is Cloudflare's limit; more pages than that is a cursor that runs in circles.
const MOST_PAGES: usize = 1000;

#[derive(Debug, Default, Deserialize)]
struct ListedBuckets {
    #[serde(default)]
    buckets: Option<Vec<ReadBucket>>,
}

#[derive(Debug, Default, Deserialize)]
struct ReadBucket {
    #[serde(default, deserialize_with = "text_field")]
    name: Option<String>,
    #[serde(default, deserialize_with = "date_field")]
    creation_date: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "text_field")]
    jurisdiction: Option<String>,
}

impl ReadBucket {
    /// `asked` is where the call looked: a bucket of another jurisdiction would not have been shown.
    fn info(self, name: String, asked: Jurisdiction) -> BucketInfo {
        BucketInfo {
            name,
            creation_date: self.creation_date,
            jurisdiction: self
                .jurisdiction
                .as_deref()
                .and_then(lenient::jurisdiction)
                .unwrap_or(asked),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Create<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    location_hint: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_class: Option<&'static str>,
}

impl Client {
    pub(crate) async fn get_buckets(
        &self,
        cx: CallCx,
        jurisdiction: Jurisdiction,
    ) -> CloudResult<Vec<BucketInfo>> {
        let call = Call::new("GET buckets", Method::GET, Area::Buckets);
        let terms = Terms::from(cx);
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut url = self.account_url(&call, &["r2", "buckets"])?;
            url.query_pairs_mut().append_pair("per_page", PER_PAGE);
            if let Some(cursor) = &cursor {
                url.query_pairs_mut().append_pair("cursor", cursor);
            }
            let (answer, success) = self
                .read(terms, &call, || {
                    self.bucket_request(&call, url.clone(), jurisdiction)
                })
                .await?;
            let next = success.info.cursor;
            let page: ListedBuckets = typed(&call, &answer, success.result)?;
            for mut bucket in page.buckets.unwrap_or_default() {
                let name = bucket
                    .name
                    .take()
                    .ok_or_else(|| incomplete(&call, "a bucket in the list has no name"))?;
                all.push(bucket.info(name, jurisdiction));
            }
            if next.is_none() {
                return Ok(all);
            }
            if next == cursor {
                break;
            }
            cursor = next;
        }
        Err(incomplete(&call, "the list of buckets does not end"))
    }

    pub(crate) async fn get_one_bucket(
        &self,
        cx: CallCx,
        bucket: &BucketRef,
    ) -> CloudResult<BucketInfo> {
        let call = Call::new("GET bucket", Method::GET, Area::Buckets);
        let url = self.account_url(&call, &["r2", "buckets", &bucket.name])?;
        let (answer, success) = self
            .read(cx.into(), &call, || {
                self.bucket_request(&call, url.clone(), bucket.jurisdiction)
            })
            .await?;
        let read: ReadBucket = typed(&call, &answer, success.result)?;
        Ok(read.info(bucket.name.clone(), bucket.jurisdiction))
    }

    pub(crate) async fn post_bucket(
        &self,
        cx: CallCx,
        bucket: &NewBucket,
    ) -> CloudResult<BucketInfo> {
        let call = Call::new("POST bucket", Method::POST, Area::Buckets);
        let url = self.account_url(&call, &["r2", "buckets"])?;
        let request = self
            .bucket_request(&call, url, bucket.jurisdiction)
            .json(&Create {
                name: &bucket.name,
                location_hint: bucket.location_hint.map(|l| l.as_str()),
                storage_class: (!bucket.storage_class.is_default())
                    .then(|| bucket.storage_class.as_str()),
            });
        let (answer, success) = self
            .write(cx.into(), &call, self.timeouts.request, &[], request)
            .await?;
        // The bucket is there, whatever the shape of the answer.
        let read = typed::<ReadBucket>(&call, &answer, success.result).unwrap_or_default();
        Ok(read.info(bucket.name.clone(), bucket.jurisdiction))
    }

    pub(crate) async fn remove_bucket(&self, cx: CallCx, bucket: &BucketRef) -> CloudResult<()> {
        let call = Call::new("DELETE bucket", Method::DELETE, Area::Buckets);
        let url = self.account_url(&call, &["r2", "buckets", &bucket.name])?;
        let request = self.bucket_request(&call, url, bucket.jurisdiction);
        self.write(cx.into(), &call, self.timeouts.request, &[], request)
            .await
            .map(drop)
    }

    fn bucket_request(&self, call: &Call, url: Url, jurisdiction: Jurisdiction) -> RequestBuilder {
        let request = self.request(call, url);
        if jurisdiction.is_default() {
            request
        } else {
            request.header("cf-r2-jurisdiction", jurisdiction.as_str())
        }
    }
}
