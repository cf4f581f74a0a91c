//! [`Cloud`] for [`Client`]: names only; the calls stand beside their wire types.

use std::time::Instant;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use talon_core::cloud::{
    BucketInfo, BucketRef, CallCx, Cloud, CloudResult, CreatedToken, NewBucket, NewToken,
    ObjectPage, PendingUpload, SecretChange, TokenCheck, TokenInfo, WorkerInfo, WorkerSettings,
    WorkerUpload, WorkerVersion,
};
use talon_core::secret::SecretValue;
use talon_core::spec::Jurisdiction;

use crate::client::Client;

#[async_trait]
impl Cloud for Client {
    fn account_id(&self) -> &str {
        &self.account_id
    }

    fn clock_now(&self) -> Option<DateTime<Utc>> {
        self.server_clock.at(Instant::now())
    }

    async fn account_subdomain(&self, cx: CallCx) -> CloudResult<Option<String>> {
        self.get_account_subdomain(cx).await
    }

    async fn verify_token(&self, cx: CallCx) -> CloudResult<TokenCheck> {
        self.check_token(cx).await
    }

    async fn list_workers(&self, cx: CallCx) -> CloudResult<Vec<WorkerInfo>> {
        self.get_workers(cx).await
    }

    async fn worker_settings(&self, cx: CallCx, worker: &str) -> CloudResult<WorkerSettings> {
        self.get_settings(cx, worker).await
    }

    async fn secret_names(&self, cx: CallCx, worker: &str) -> CloudResult<Vec<String>> {
        self.get_secret_names(cx, worker).await
    }

    async fn upload_worker(
        &self,
        cx: CallCx,
        worker: &str,
        upload: WorkerUpload,
    ) -> CloudResult<WorkerVersion> {
        self.put_worker(cx, worker, &upload).await
    }

    async fn delete_worker(&self, cx: CallCx, worker: &str) -> CloudResult<()> {
        self.remove_worker(cx, worker).await
    }

    async fn worker_route(&self, cx: CallCx, worker: &str) -> CloudResult<bool> {
        self.get_route(cx, worker).await
    }

    async fn set_worker_route(&self, cx: CallCx, worker: &str, enabled: bool) -> CloudResult<()> {
        self.post_route(cx, worker, enabled).await
    }

    async fn change_secrets(
        &self,
        cx: CallCx,
        worker: &str,
        changes: Vec<SecretChange>,
    ) -> CloudResult<WorkerVersion> {
        self.patch_secrets(cx, worker, &changes).await
    }

    async fn list_buckets(
        &self,
        cx: CallCx,
        jurisdiction: Jurisdiction,
    ) -> CloudResult<Vec<BucketInfo>> {
        self.get_buckets(cx, jurisdiction).await
    }

    async fn get_bucket(&self, cx: CallCx, bucket: &BucketRef) -> CloudResult<BucketInfo> {
        self.get_one_bucket(cx, bucket).await
    }

    async fn create_bucket(&self, cx: CallCx, bucket: &NewBucket) -> CloudResult<BucketInfo> {
        self.post_bucket(cx, bucket).await
    }

    async fn delete_bucket(&self, cx: CallCx, bucket: &BucketRef) -> CloudResult<()> {
        self.remove_bucket(cx, bucket).await
    }

    async fn list_tokens(&self, cx: CallCx) -> CloudResult<Vec<TokenInfo>> {
        self.get_tokens(cx).await
    }

    async fn create_token(&self, cx: CallCx, token: &NewToken) -> CloudResult<CreatedToken> {
        self.post_token(cx, token).await
    }

    async fn roll_token(&self, cx: CallCx, id: &str) -> CloudResult<SecretValue> {
        self.put_token_value(cx, id).await
    }

    async fn delete_token(&self, cx: CallCx, id: &str) -> CloudResult<()> {
        self.remove_token(cx, id).await
    }

    async fn list_objects(&self, cx: CallCx, bucket: &BucketRef) -> CloudResult<ObjectPage> {
        self.s3_list_objects(cx, bucket).await
    }

    async fn delete_objects(
        &self,
        cx: CallCx,
        bucket: &BucketRef,
        keys: &[String],
    ) -> CloudResult<Vec<String>> {
        self.s3_delete_objects(cx, bucket, keys).await
    }

    async fn list_uploads(
        &self,
        cx: CallCx,
        bucket: &BucketRef,
    ) -> CloudResult<Vec<PendingUpload>> {
        self.s3_list_uploads(cx, bucket).await
    }

    async fn abort_upload(
        &self,
        cx: CallCx,
        bucket: &BucketRef,
        upload: &PendingUpload,
    ) -> CloudResult<()> {
        self.s3_abort_upload(cx, bucket, upload).await
    }
}
