//! What somebody has to look at, and what can be done about it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use events::{Handle, RepairAction, RepairError, TableRepair, Trouble};
use model::Offset;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::category;
use crate::Problem;
use crate::extract::{Body, Path};
use crate::problem::ProblemDetails;

/// Characters of a reason that are kept.
const REASON_MAX: usize = 1000;

/// Something that does not go on by itself.
#[derive(Debug, Serialize, ToSchema)]
pub struct TroubleBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "orders")]
    category: Option<String>,
    /// Instead of a category: the store's own topic that was deleted or replaced
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<String>,
    /// Not given: all of the category
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 3)]
    partition: Option<i32>,
    /// The first one that is not read
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 17)]
    offset: Option<i64>,
    why: String,
}

impl TroubleBody {
    fn of(trouble: Trouble) -> TroubleBody {
        let Trouble { category, table, partition, offset, why } = trouble;
        TroubleBody { category, table, partition, offset: offset.map(|offset| offset.0), why }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    PassOver,
    Adopt,
    AcceptLoss,
    TakeBack,
    GiveUp,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepairBody {
    action: Action,
    /// With `pass-over`, `adopt`, `accept-loss`
    #[schema(example = 3)]
    partition: Option<i32>,
    /// With `pass-over` and `adopt`: where the partition has halted
    #[schema(example = 17)]
    offset: Option<i64>,
    /// With `pass-over`: go on at this offset [default: the next one]
    until: Option<i64>,
    /// With `adopt`: of this stream [default: the record's key]
    stream: Option<String>,
    /// With `adopt`: of this type [default: the record's ce_type]
    #[serde(rename = "type")]
    kind: Option<String>,
    /// For whoever asks later
    #[serde(default)]
    #[schema(example = "written by a test of the billing team")]
    reason: String,
}

impl RepairBody {
    fn into_action(self) -> Result<(RepairAction, String), Problem> {
        let RepairBody { action, partition, offset, until, stream, kind, reason } = self;
        let missing = |what: &str| Problem::invalid(format!("`{what}` is missing"));
        let partition = || partition.ok_or_else(|| missing("partition"));
        let offset = || offset.map(Offset).ok_or_else(|| missing("offset"));
        let action = match action {
            Action::PassOver => RepairAction::PassOver {
                partition: partition()?,
                offset: offset()?,
                until: until.map(Offset),
            },
            Action::Adopt => RepairAction::Adopt { partition: partition()?, offset: offset()?, stream, kind },
            Action::AcceptLoss => RepairAction::AcceptLoss { partition: partition()? },
            Action::TakeBack => RepairAction::TakeBack,
            Action::GiveUp => RepairAction::GiveUp,
        };
        Ok((action, reason.chars().take(REASON_MAX).collect()))
    }
}

/// What somebody has to look at
///
/// Partitions that are not read any further, and categories that are not open, as this instance sees them. What is before
/// the trouble is read, and everything else goes on.
#[utoipa::path(
    operation_id = "list_troubles",
    get, path = "/v1/troubles", tag = "instances",
    responses((status = 200, description = "None: an empty list", body = Vec<TroubleBody>)),
)]
pub async fn troubles(State(handle): State<Handle>) -> Json<Vec<TroubleBody>> {
    Json(handle.troubles().into_iter().map(TroubleBody::of).collect())
}

/// Repair a category
///
/// The log is never rewritten: what is decided stands in a topic, and every instance reads by it.
#[utoipa::path(
    operation_id = "repair_category",
    post, path = "/v1/categories/{category}/repair", tag = "instances",
    params(("category" = String, Path, example = "orders")),
    request_body = RepairBody,
    responses(
        (status = 200, description = "Done; what is still wrong with the category", body = Vec<TroubleBody>),
        (status = 404, description = "No such category", body = ProblemDetails),
        (status = 409, description = "There is nothing of the kind to repair", body = ProblemDetails),
        (status = 503, description = "Not now: ask again", body = ProblemDetails),
    ),
)]
pub async fn repair(
    State(handle): State<Handle>,
    Path(name): Path<String>,
    Body(body): Body<RepairBody>,
) -> Result<Json<Vec<TroubleBody>>, Problem> {
    let category = category(&name)?;
    let (action, reason) = body.into_action()?;
    let left = handle.repair(&category, &action, &reason).await?;
    Ok(Json(left.into_iter().map(TroubleBody::of).collect()))
}

/// What takes the place of a topic of the store's own.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TableAction {
    Restore,
    Accept,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TableRepairBody {
    /// `restore`: what this instance knows of the topic is written into the new one; `accept`: the topic as it is now
    action: TableAction,
}

/// Repair a topic of the store's own
///
/// One that was deleted, or is another one than it was. Until then what is known of it is read, and nothing is written.
#[utoipa::path(
    post, path = "/v1/tables/{table}/repair", tag = "instances",
    params(("table" = String, Path, example = "lv.upcasters")),
    request_body = TableRepairBody,
    responses(
        (status = 200, description = "Done; what is still wrong with such topics", body = Vec<TroubleBody>),
        (status = 400, description = "No topic of the store's own", body = ProblemDetails),
        (status = 409, description = "There is nothing to repair", body = ProblemDetails),
        (status = 503, description = "Not now: ask again", body = ProblemDetails),
    ),
)]
pub async fn repair_table(
    State(handle): State<Handle>,
    Path(table): Path<String>,
    Body(body): Body<TableRepairBody>,
) -> Result<Json<Vec<TroubleBody>>, Problem> {
    let TableRepairBody { action } = body;
    let how = match action {
        TableAction::Restore => TableRepair::Restore,
        TableAction::Accept => TableRepair::Accept,
    };
    let left = handle.repair_table(&table, how).await?;
    Ok(Json(left.into_iter().map(TroubleBody::of).collect()))
}

impl From<RepairError> for Problem {
    fn from(error: RepairError) -> Problem {
        let detail = error.to_string();
        match error {
            RepairError::NotSo(_) => Problem::new(
                StatusCode::CONFLICT,
                "nothing-to-repair",
                "There is nothing of the kind",
                detail,
            ),
            RepairError::Invalid(_) => Problem::invalid(detail),
            RepairError::NoCategory(_) => Problem::not_found(detail),
            RepairError::Unavailable(_) => Problem::unavailable(detail),
        }
    }
}
