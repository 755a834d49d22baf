//! Both services behind one door.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use events::Handle;
use tonic::codegen::{BoxFuture, Service};

use super::api::events_server::EventsServer;
use super::api::lifecycle_server::LifecycleServer;
use crate::events::{lifecycle, peer};

/// The gRPC services.
#[derive(Clone)]
pub struct Grpc {
    handle: Handle,
    events: EventsServer<super::Store>,
    lifecycle: LifecycleServer<lifecycle::Store>,
}

/// An answer to come.
pub struct GrpcAnswering(BoxFuture<axum::http::Response<tonic::body::Body>, Infallible>);

impl Grpc {
    pub fn new(handle: Handle) -> Grpc {
        let (events, lifecycle) = (super::service(handle.clone()), lifecycle::service(handle.clone()));
        Grpc { handle, events, lifecycle }
    }

    /// Whether a request asks for one of these services.
    pub fn takes(request: &Request) -> bool {
        matches!(service_of(request), Some("Events" | "Lifecycle"))
    }

    pub fn answer(&self, request: Request) -> GrpcAnswering {
        if request.headers().contains_key(peer::PEER) {
            return GrpcAnswering(Box::pin(self.clone().answer_instance(request)));
        }
        self.call(request)
    }

    /// The same to another instance, which proves that it is one.
    async fn answer_instance(
        self,
        request: Request,
    ) -> Result<axum::http::Response<tonic::body::Body>, Infallible> {
        let (request, proven) = match peer::proven(&self.handle, request).await {
            Ok(proven) => proven,
            // Not with gRPC's status: whoever passes something on looks at HTTP's.
            Err(refused) => return Ok(refused.into_response().map(tonic::body::Body::new)),
        };
        let answered = self.call(request).await;
        Ok(peer::answered(&self.handle, &proven, answered).await.map(tonic::body::Body::new))
    }

    fn call(&self, request: Request) -> GrpcAnswering {
        GrpcAnswering(match service_of(&request) {
            Some("Lifecycle") => self.lifecycle.clone().call(request),
            // What is none of its methods it refuses.
            _ => self.events.clone().call(request),
        })
    }
}

fn service_of(request: &Request) -> Option<&str> {
    let rest = request.uri().path().strip_prefix("/levada.events.v1.")?;
    Some(rest.split_once('/')?.0)
}

impl Future for GrpcAnswering {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response> {
        self.0.as_mut().poll(context).map(|answered| match answered {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        })
    }
}
