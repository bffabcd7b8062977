//! `cargo xtask schema --source DIR`: writes the table of Kubernetes types that `api::schema` reads.
//!
//! DIR holds checkouts of `api`, `apimachinery`, `apiextensions-apiserver` and `kube-aggregator`, side by side, as in
//! `staging/src/k8s.io` of the Kubernetes repository. Only facts are taken: names, types, tags and markers.
//!
//! Invariants: the output is a function of the sources; every type that a served kind reaches is in it.
//! Absent: doc sentences.

mod go;
mod render;

use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

/// Where the table is kept, from the workspace's root.
const OUTPUT: &str = "crates/api/src/schema/types.txt";

/// Types that no kind reaches, but that requests and answers use.
const OTHER_ROOTS: &[&str] = &[
    "io.k8s.api.authentication.v1.TokenRequest",
    "io.k8s.api.autoscaling.v1.Scale",
    "io.k8s.api.policy.v1.Eviction",
    "io.k8s.apimachinery.pkg.apis.meta.v1.APIGroup",
    "io.k8s.apimachinery.pkg.apis.meta.v1.APIGroupList",
    "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList",
    "io.k8s.apimachinery.pkg.apis.meta.v1.APIVersions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
    "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent",
    "io.k8s.apimachinery.pkg.version.Info",
];

/// A package's types by name, and what its files import.
pub(crate) type Packages = BTreeMap<String, BTreeMap<String, go::TypeDecl>>;

/// Runs the command.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let source = match args {
        [flag, dir] if flag == "--source" => PathBuf::from(dir),
        _ => bail!("usage: cargo xtask schema --source DIR (staging/src/k8s.io of a Kubernetes checkout)"),
    };
    let mut loader = Loader { source, packages: Packages::new() };
    let roots = roots();
    let reached = loader.reach(&roots)?;
    let text = render::table(&loader.packages, &reached, api::KUBERNETES_VERSION)?;
    let output = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(OUTPUT);
    std::fs::write(&output, &text).with_context(|| format!("cannot write {}", output.display()))?;
    println!("{OUTPUT}: {} types, {} bytes", reached.len(), text.len());
    Ok(())
}

fn roots() -> Vec<String> {
    let mut roots: Vec<String> = OTHER_ROOTS.iter().map(|&root| root.to_owned()).collect();
    for kind in api::kinds::KINDS {
        roots.push(kind.type_name.to_owned());
        if kind.can(api::kinds::Verb::List) {
            roots.push(format!("{}List", kind.type_name));
        }
    }
    roots
}

struct Loader {
    source: PathBuf,
    packages: Packages,
}

impl Loader {
    /// All types that `roots` reach, as (package path, name).
    fn reach(&mut self, roots: &[String]) -> Result<BTreeSet<(String, String)>> {
        let mut queue: VecDeque<(String, String)> = VecDeque::new();
        for root in roots {
            let (package, name) = root.rsplit_once('.').with_context(|| format!("{root} has no package"))?;
            queue.push_back((go::path_of_openapi_package(package), name.to_owned()));
        }
        let mut reached = BTreeSet::new();
        while let Some((package, name)) = queue.pop_front() {
            if go::special(&package, &name).is_some() || !reached.insert((package.clone(), name.clone())) {
                continue;
            }
            let decl = self.find(&package, &name)?;
            for reference in decl.references() {
                queue.push_back(reference);
            }
        }
        // A type that is only embedded has no entry of its own: its fields are listed where it is embedded.
        Ok(reached)
    }

    fn find(&mut self, package: &str, name: &str) -> Result<go::TypeDecl> {
        if !self.packages.contains_key(package) {
            let relative = package.strip_prefix("k8s.io/").with_context(|| format!("{package} is not in k8s.io"))?;
            let dir = self.source.join(relative);
            let decls = go::parse_package(package, &dir).with_context(|| format!("cannot read {}", dir.display()))?;
            self.packages.insert(package.to_owned(), decls);
        }
        self.packages[package].get(name).cloned().with_context(|| format!("{package} has no type {name}"))
    }
}
