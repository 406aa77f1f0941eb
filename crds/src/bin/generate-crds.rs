//! Writes the custom resource definitions as YAML where they are kept: beside the types, and in the
//! Helm chart. `cargo run -p trunkline-crds --bin generate-crds` from anywhere in the workspace.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (file, text) in trunkline_crds::definitions_yaml()? {
        for folder in trunkline_crds::GENERATED_FOLDERS {
            let folder = workspace.join(folder);
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join(&file), &text)?;
        }
    }
    Ok(())
}
