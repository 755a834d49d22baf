//! DescribeAcls, CreateAcls and DeleteAcls: there is no authoriser, which clients are told so that they do not take an
//! empty list for one.

use wire::create_acls::AclCreationResult;
use wire::delete_acls::DeleteAclsFilterResult;
use wire::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse, DescribeAclsRequest,
    DescribeAclsResponse, ErrorCode,
};

const WHY: &str = "No Authorizer is configured.";

pub async fn describe(_: DescribeAclsRequest) -> DescribeAclsResponse {
    DescribeAclsResponse {
        error_code: ErrorCode::SecurityDisabled.into(),
        error_message: Some(WHY.into()),
        ..Default::default()
    }
}

pub async fn create(request: CreateAclsRequest) -> CreateAclsResponse {
    let refused = AclCreationResult {
        error_code: ErrorCode::SecurityDisabled.into(),
        error_message: Some(WHY.into()),
        ..Default::default()
    };
    CreateAclsResponse { results: vec![refused; request.creations.len()], ..Default::default() }
}

pub async fn delete(request: DeleteAclsRequest) -> DeleteAclsResponse {
    let refused = DeleteAclsFilterResult {
        error_code: ErrorCode::SecurityDisabled.into(),
        error_message: Some(WHY.into()),
        ..Default::default()
    };
    DeleteAclsResponse { filter_results: vec![refused; request.filters.len()], ..Default::default() }
}
