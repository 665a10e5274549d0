//! The software bill of materials of an image, in CycloneDX 1.6 (ECMA-424).

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Image, Package};

/// The document: the image, its kernel's file and its disk by digest, and every package in it.
pub fn cyclonedx(image: &Image) -> Value {
    let manifest = &image.manifest;
    let reference = format!("image:{}", manifest.id);
    let suite = manifest.inputs.first().and_then(|input| input.work.pointer("/base/suite"));
    let suite = suite.and_then(Value::as_str);
    let components: Vec<Value> = manifest.packages.iter().map(|package| component(package, suite)).collect();
    let needed: Vec<&Value> = components.iter().filter_map(|component| component.get("bom-ref")).collect();
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", serial(manifest.id.as_str())),
        "version": 1,
        "metadata": {
            "timestamp": manifest.baked_at,
            "tools": { "components": [{
                "type": "application",
                "name": env!("CARGO_PKG_NAME"),
                "version": env!("CARGO_PKG_VERSION"),
            }] },
            "component": {
                "type": "operating-system",
                "bom-ref": reference,
                "name": manifest.name,
                "version": manifest.id,
                "properties": [
                    property("image:kernel", &manifest.kernel),
                    property("image:kernel_cmdline", &manifest.kernel_cmdline),
                    property("image:disk_digest", &manifest.digests.disk),
                    property("image:kernel_digest", &manifest.digests.kernel),
                    property("image:files_digest", &manifest.digests.files),
                ],
            },
        },
        "components": components,
        "dependencies": [{ "ref": reference, "dependsOn": needed }],
    })
}

/// The same image has the same number, as it has the same content.
fn serial(id: &str) -> Uuid {
    let mut bytes = [0; 16];
    let mut hasher = blake3::Hasher::new_derive_key("ovenproof bill of materials v1");
    hasher.update(id.as_bytes()).finalize_xof().fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn property(name: &str, value: &str) -> Value {
    json!({ "name": format!("ovenproof:{name}"), "value": value })
}

fn component(package: &Package, suite: Option<&str>) -> Value {
    let Package { name, version, arch, source, source_version } = package;
    let escaped = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~".contains(&byte);
        let escape = |byte: u8| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") };
        text.bytes().map(escape).collect::<String>()
    };
    let mut purl = format!("pkg:deb/debian/{}@{}?arch={arch}", escaped(name), escaped(version));
    if let Some(suite) = suite {
        purl.push_str(&format!("&distro={}", escaped(suite)));
    }
    // Where scanners look for the source package, if it is called otherwise.
    if (source, source_version) != (name, version) {
        purl.push_str(&format!("&upstream={}", escaped(&format!("{source}@{source_version}"))));
    }
    json!({
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "properties": [property("package:source", &format!("{source} {source_version}"))],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_named_as_scanners_expect() {
        let package = Package {
            name: "libstdc++6".to_owned(),
            version: "1:12.2.0-14+deb12u1".to_owned(),
            arch: "amd64".to_owned(),
            source: "gcc-12".to_owned(),
            source_version: "12.2.0-14".to_owned(),
        };
        let component = component(&package, Some("bookworm"));
        assert_eq!(
            component["purl"],
            "pkg:deb/debian/libstdc%2B%2B6@1%3A12.2.0-14%2Bdeb12u1?arch=amd64&distro=bookworm\
             &upstream=gcc-12%4012.2.0-14"
        );
    }
}
