//! Reads the peppers, and makes the first one for an empty store.
use crate::config;
use crate::key::seal::{Pepper, Peppers};
use crate::store::Meta;
/// The peppers.
pub fn load(settings: &config::Store, meta: &Meta) -> Result<Peppers, String> {
    if !settings.pepper_file.exists() && meta.records == 0 {
        let mut b = [0u8; 32];
        rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut b).map_err(|e| e.to_string())?;
        std::fs::write(&settings.pepper_file, b).map_err(|e| e.to_string())?;
    }
    let b: [u8; 32] = std::fs::read(&settings.pepper_file)
        .map_err(|e| e.to_string())?
        .try_into()
        .map_err(|_| "len".to_owned())?;
    Ok(Peppers::new(Pepper::new(b), vec![]))
}
