//! Builds anew when the dashboard was built, or is gone.

fn main() {
    println!("cargo::rerun-if-changed=dashboard/dist");
}
