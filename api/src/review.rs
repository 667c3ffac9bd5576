//! Reviews: questions in the form of objects that are created, answered and not kept. Who am I, may I, whose token is this?
//!
//! Here is what they are called, for discovery and OpenAPI; the API server answers them.

use k8s_openapi::Resource;
use k8s_openapi::api::{authentication, authorization};

use crate::kind::Scope;

/// A kind of review.
#[derive(Clone, Copy, Debug)]
pub struct Review {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub scope: Scope,
    pub schema: fn() -> schemars::Schema,
}

impl Review {
    const fn of<T: Resource + schemars::JsonSchema>(
        plural: &'static str,
        singular: &'static str,
        scope: Scope,
    ) -> Review {
        Review { group: T::GROUP, version: T::VERSION, kind: T::KIND, plural, singular, scope, schema: schema_of::<T> }
    }

    /// `authorization.k8s.io/v1`.
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }
}

fn schema_of<T: schemars::JsonSchema>() -> schemars::Schema {
    schemars::schema_for!(T)
}

/// All reviews, by group and plural name.
pub static REVIEWS: &[Review] = &[
    Review::of::<authentication::v1::SelfSubjectReview>("selfsubjectreviews", "selfsubjectreview", Scope::Cluster),
    Review::of::<authentication::v1::TokenReview>("tokenreviews", "tokenreview", Scope::Cluster),
    Review::of::<authorization::v1::LocalSubjectAccessReview>(
        "localsubjectaccessreviews",
        "localsubjectaccessreview",
        Scope::Namespaced,
    ),
    Review::of::<authorization::v1::SelfSubjectAccessReview>(
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
        Scope::Cluster,
    ),
    Review::of::<authorization::v1::SelfSubjectRulesReview>(
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview",
        Scope::Cluster,
    ),
    Review::of::<authorization::v1::SubjectAccessReview>("subjectaccessreviews", "subjectaccessreview", Scope::Cluster),
];

/// The review of this name, if there is one.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Review> {
    REVIEWS.iter().find(|it| it.plural == plural && it.group == group && it.version == version)
}
