//! What the operator may do.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::helm::{deployment, environment, of_kind, render, root, with_file};

/// Every (group, resource, verb) of a role.
fn grants(role: &Value) -> BTreeSet<String> {
    let list = |rule: &Value, key: &str| -> Vec<String> {
        let words = rule[key].as_array().unwrap().iter();
        words
            .map(|word| word.as_str().unwrap().to_owned())
            .collect()
    };
    let mut grants = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in list(rule, "apiGroups") {
            for resource in list(rule, "resources") {
                for verb in list(rule, "verbs") {
                    grants.insert(format!("{group}/{resource} {verb}"));
                }
            }
        }
    }
    grants
}

/// The table of docs/helm.md, in the form of [`grants`].
fn documented_grants() -> BTreeSet<String> {
    let page = std::fs::read_to_string(root().join("docs/helm.md")).unwrap();
    let (_, table) = page
        .split_once("| API group | Resources | Verbs |")
        .unwrap();
    let mut grants = BTreeSet::new();
    for row in table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
    {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let group = cells[1].trim_matches('`').replace("core", "");
        let verbs = cells[3].split('(').next().unwrap();
        for resource in cells[2].split('`').skip(1).step_by(2) {
            for verb in verbs.split([',', ';', ' ']) {
                if ["get", "list", "watch", "create", "patch", "delete"].contains(&verb) {
                    grants.insert(format!("{group}/{resource} {verb}"));
                }
            }
        }
    }
    grants
}

#[test]
fn the_operator_may_do_what_is_documented_and_nothing_else() {
    let objects = render(&[]);
    let own = |kind: &str, name: &str| -> Value {
        let mut all = of_kind(&objects, kind).into_iter();
        all.find(|role| role["metadata"]["name"] == name)
            .unwrap()
            .clone()
    };
    let cluster = grants(&own("ClusterRole", "trunkline-operator"));
    let lease = own("Role", "trunkline-operator-lease");
    assert_eq!(lease["rules"][0]["verbs"], json!(["create"]));
    assert_eq!(
        lease["rules"][1]["resourceNames"],
        json!(["trunkline-operator"])
    );
    let all: BTreeSet<_> = cluster.union(&grants(&lease)).cloned().collect();
    assert_eq!(all, documented_grants());
    for grant in &all {
        assert!(!grant.contains('*'), "{grant}");
        let dangerous = [
            "roles",
            "rolebindings",
            "pods create",
            "pods patch",
            "/exec",
        ];
        assert!(!dangerous.iter().any(|one| grant.contains(one)), "{grant}");
    }
}

#[test]
fn watched_namespaces_bound_the_grant() {
    let everywhere = render(&[]);
    let objects = with_file("namespaced");
    for kind in ["ClusterRole", "ClusterRoleBinding"] {
        assert!(of_kind(&objects, kind).is_empty(), "{kind}");
    }
    let wide = grants(
        of_kind(&everywhere, "ClusterRole")
            .into_iter()
            .find(|role| role["metadata"]["name"] == "trunkline-operator")
            .unwrap(),
    );
    let mut namespaces = Vec::new();
    for role in of_kind(&objects, "Role") {
        if role["metadata"]["name"] == "teams" {
            namespaces.push(role["metadata"]["namespace"].as_str().unwrap());
            assert_eq!(grants(role), wide);
        } else {
            assert_eq!(role["metadata"]["namespace"], "trunkline-system");
            assert!(grants(role).iter().all(|grant| grant.contains("/leases ")));
        }
    }
    assert_eq!(namespaces, ["team-a", "team-b"]);
    for binding in of_kind(&objects, "RoleBinding") {
        assert_eq!(binding["subjects"][0]["namespace"], "trunkline-system");
        assert_eq!(binding["roleRef"]["name"], binding["metadata"]["name"]);
    }
    let watched = environment(deployment(&objects), "TRUNKLINE_WATCH_NAMESPACES");
    assert_eq!(watched["value"], "team-a,team-b");
    let all = environment(deployment(&everywhere), "TRUNKLINE_WATCH_NAMESPACES");
    assert_eq!(*all, Value::Null);
}
