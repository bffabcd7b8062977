//! Properties over random clusters: what is bound fits, what is not fits nowhere, and no more pods end than must.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Cpu of a node, in thousandths.
const NODE_CPU: i64 = 4000;

#[derive(Debug, Clone)]
struct Small {
    cpu: i64,
    priority: i32,
    app: u8,
    shuns: Option<u8>,
}

fn small() -> impl Strategy<Value = Small> {
    (0..3000_i64, 0..4_i32, 0..3_u8, prop::option::weighted(0.3, 0..3_u8))
        .prop_map(|(cpu, priority, app, shuns)| Small { cpu, priority, app, shuns })
}

impl Small {
    fn spec(&self) -> Value {
        let mut spec = json!({"priority": self.priority, "containers": cpu(&format!("{}m", self.cpu)),
            "labels": {"app": self.app.to_string()}});
        if let Some(app) = self.shuns {
            let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": app.to_string()}}});
            let hard = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
            spec["affinity"] = json!({"podAntiAffinity": hard});
        }
        spec
    }

    fn repels(&self, other: &Self) -> bool {
        self.shuns == Some(other.app) || other.shuns == Some(self.app)
    }
}

/// Pods by node; node `i` is in zone `i % 2`.
type Placed = Vec<Vec<Small>>;

fn fleet(placed: &Placed) -> Fleet {
    let zones: Vec<&str> = (0..placed.len()).map(|i| if i % 2 == 0 { "a" } else { "b" }).collect();
    let mut fleet = Fleet::zones(&zones);
    for (i, pods) in placed.iter().enumerate() {
        for (j, one) in pods.iter().enumerate() {
            fleet.put(&format!("n-{i}"), pod(&format!("p-{i}-{j}"), one.spec()));
        }
    }
    fleet
}

/// Whether `new` fits on node `i`, reckoned by hand.
fn fits(placed: &Placed, i: usize, new: &Small) -> bool {
    let used: i64 = placed[i].iter().map(|p| p.cpu).sum();
    let zone = placed.iter().enumerate().filter(|(j, _)| j % 2 == i % 2).flat_map(|(_, pods)| pods);
    (new.cpu == 0 || used + new.cpu <= NODE_CPU) && !zone.clone().any(|p| new.repels(p))
}

/// Fills the nodes as far as pods fit, so that the cluster is one that can be.
fn place(nodes: usize, pods: Vec<(u8, Small)>) -> Placed {
    let mut placed: Placed = vec![Vec::new(); nodes];
    for (at, one) in pods {
        let i = usize::from(at) % nodes;
        if fits(&placed, i, &one) {
            placed[i].push(one);
        }
    }
    placed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bound_where_it_fits_or_room_is_made_and_no_more(
        nodes in 1..5_usize,
        pods in prop::collection::vec((any::<u8>(), small()), 0..20),
        new in small(),
    ) {
        let placed = place(nodes, pods);
        let fleet = fleet(&placed);
        let decision = fleet.decide("new", new.spec());
        prop_assert_eq!(&decision, &fleet.decide("new", new.spec()), "the same input gives the same decision");
        let index = |name: &str| name.trim_start_matches("n-").parse::<usize>().unwrap();
        match decision {
            Decision::Bind(name) => prop_assert!(fits(&placed, index(&name), &new)),
            Decision::Leave => prop_assert!(false, "it is ours"),
            Decision::Unschedulable(unfit) => {
                prop_assert!((0..nodes).all(|i| !fits(&placed, i, &new)), "it fits somewhere");
                let Some((name, victims)) = unfit.room else { return Ok(()) };
                let i = index(&name);
                let ended: Vec<usize> = victims
                    .iter()
                    .map(|v| v.name.rsplit('-').next().unwrap().parse().unwrap())
                    .collect();
                prop_assert!(ended.iter().all(|j| placed[i][*j].priority < new.priority));
                let without = |spared: Option<usize>| {
                    let mut rest = placed.clone();
                    let gone = |j: &usize| ended.contains(j) && Some(*j) != spared;
                    rest[i] = placed[i].iter().enumerate().filter(|(j, _)| !gone(j)).map(|(_, p)| p.clone()).collect();
                    fits(&rest, i, &new)
                };
                prop_assert!(without(None), "there is room then");
                prop_assert!(ended.iter().all(|j| !without(Some(*j))), "each of them is in the way");
            }
        }
    }
}
