//! Who cannot live without whom: containers that share another's namespaces.

use std::collections::{BTreeSet, HashMap};

use crate::{
    engine::{
        Engine,
        plan::{self, Target},
    },
    model::{ContainerId, ContainerSpec, Result, user_namespace::UserNamespaceMode},
};

impl Engine {
    /// All that depend on these containers, directly or through others, and these themselves: each
    /// before those that it depends on, by its whole ID unless it was typed.
    pub fn with_dependents(&self, containers: &[String]) -> Result<Vec<String>> {
        let mut users: HashMap<ContainerId, Vec<ContainerId>> = HashMap::new();
        for (directory, record) in self.store.containers()? {
            for whose in needed_by(&record.spec) {
                users.entry(whose).or_default().push(directory.id().clone());
            }
        }
        let mut order = Order::default();
        let mut words = HashMap::new();
        let mut missing = Vec::new();
        for typed in containers {
            match self.store.find_container(typed) {
                Ok((directory, _)) => {
                    order.visit(directory.id(), &users);
                    words.insert(directory.id().clone(), typed.clone());
                }
                Err(_) => missing.push(typed.clone()),
            }
        }
        let as_typed = |id: ContainerId| words.remove(&id).unwrap_or_else(|| id.to_string());
        Ok(order
            .sorted
            .into_iter()
            .map(as_typed)
            .chain(missing)
            .collect())
    }
}

/// Whose namespaces a container is in. Their ids were put there when it was made.
fn needed_by(spec: &ContainerSpec) -> Vec<ContainerId> {
    let mut ids: Vec<String> = Vec::new();
    for target in plan::targets(spec) {
        if let Target::Container(id) = target {
            ids.push(id);
        }
    }
    if let UserNamespaceMode::Container(id) = &spec.user_namespace.mode {
        ids.push(id.clone());
    }
    ids.iter().filter_map(|id| id.parse().ok()).collect()
}

#[derive(Default)]
struct Order {
    seen: BTreeSet<String>,
    sorted: Vec<ContainerId>,
}

impl Order {
    fn visit(&mut self, id: &ContainerId, users: &HashMap<ContainerId, Vec<ContainerId>>) {
        if !self.seen.insert(id.to_string()) {
            return;
        }
        for user in users.get(id).into_iter().flatten() {
            self.visit(user, users);
        }
        self.sorted.push(id.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependents_come_first_and_each_once() {
        let id = |digit: char| -> ContainerId { digit.to_string().repeat(64).parse().unwrap() };
        let users = HashMap::from([
            (id('a'), vec![id('b'), id('c')]),
            (id('b'), vec![id('c')]),
            // Not possible by create, but by hand.
            (id('c'), vec![id('a')]),
        ]);
        let mut order = Order::default();
        order.visit(&id('a'), &users);
        order.visit(&id('b'), &users);
        assert_eq!(order.sorted, [id('c'), id('b'), id('a')]);
    }
}
