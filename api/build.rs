//! Builds anew when the dashboard was built.

fn main() {
    // The folder is always there, with `robots.txt` in it: a path that is missing counts as changed at every
    // build, and one that is not watched would leave a dashboard out that was built later.
    println!("cargo::rerun-if-changed=dashboard/dist");
}
