//! Categories and the names of their topics.

use std::fmt;

/// What a category's topic is called after it.
const SUFFIX: &str = ".events";

/// Characters of a topic's name, as Kafka limits them.
const TOPIC_NAME_MAX: usize = 249;

/// A family of streams that live in one topic, such as `orders` or `shop.orders`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Category(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no category: 1 to {max} letters, digits, dots, underscores and hyphens, and not beginning with a dot \
     or with two underscores",
    max = TOPIC_NAME_MAX - SUFFIX.len()
)]
pub struct CategoryError(String);

/// Names of the store's own categories begin so.
const OWN: [&str; 2] = ["levada-", "levada."];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is the store's own, and nobody else writes to it: choose a name that does not begin with {first} or {second}",
    first = OWN[0],
    second = OWN[1]
)]
pub struct OwnCategory(String);

impl Category {
    pub fn new(name: &str) -> Result<Category, CategoryError> {
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_category = !name.is_empty()
            && name.len() <= TOPIC_NAME_MAX - SUFFIX.len()
            && name.bytes().all(is_fit)
            && !name.starts_with('.')
            && !name.starts_with("__");
        if is_category { Ok(Category(name.to_owned())) } else { Err(CategoryError(name.to_owned())) }
    }

    /// The category whose events a topic holds.
    pub fn of_topic(topic: &str) -> Option<Category> {
        topic.strip_suffix(SUFFIX).and_then(|name| Category::new(name).ok())
    }

    /// Refuses a category that only the store itself writes to.
    pub fn check_foreign(&self) -> Result<(), OwnCategory> {
        // Whoever reads a name does not look at its case.
        let name = self.0.to_ascii_lowercase();
        match OWN.iter().any(|own| name.starts_with(own)) {
            true => Err(OwnCategory(self.0.clone())),
            false => Ok(()),
        }
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    pub fn topic(&self) -> String {
        format!("{}{SUFFIX}", self.0)
    }

    /// The topic of its streams' snapshots. None: its name would be too long.
    pub fn snapshots(&self) -> Option<String> {
        self.beside(".snapshots")
    }

    /// The topic into which events are copied before they are truncated.
    pub fn archive(&self) -> Option<String> {
        self.beside(".archive")
    }

    fn beside(&self, suffix: &str) -> Option<String> {
        Some(format!("{}{suffix}", self.0)).filter(|name| name.len() <= TOPIC_NAME_MAX)
    }

    /// Who has this claims the partition: one transactional id each.
    pub fn transactional_id(&self, partition: i32) -> String {
        format!("lv.{}.{partition}", self.0)
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_category_and_its_topic_name_each_other() {
        let category = Category::new("shop.orders").unwrap();
        assert_eq!(category.topic(), "shop.orders.events");
        assert_eq!(Category::of_topic("shop.orders.events"), Some(category));
        assert_eq!(Category::of_topic("shop.orders"), None);
        assert_eq!(Category::of_topic(".events"), None);
    }

    #[test]
    fn who_writes_to_what_is_the_stores_own_is_refused() {
        for name in ["levada-erasures", "levada.anything", "LEVADA-erasures", "Levada.x"] {
            assert!(Category::new(name).unwrap().check_foreign().is_err(), "{name}");
        }
        for name in ["levada", "levadas", "shop.levada-x"] {
            assert_eq!(Category::new(name).unwrap().check_foreign(), Ok(()), "{name}");
        }
    }

    #[test]
    fn what_no_topic_can_be_called_is_no_category() {
        for name in ["", "a b", "a/b", "ä", ".a", "__a", &"x".repeat(243)] {
            assert_eq!(Category::new(name), Err(CategoryError(name.to_owned())), "{name}");
        }
        assert!(Category::new(&"x".repeat(242)).is_ok());
    }
}
