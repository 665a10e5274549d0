//! Mistakes in the files that `up` starts fleets from.

use crate::refusal::{Desk, variations};

const GOOD: &str = "\
name: shop
fleet:
  web: { image: web, count: 2, memory: 256M }
";

#[test]
fn mistakes() {
    let said = |text: &str| Desk::with(&[("shop.yaml", text)]).refused(&["up", "shop.yaml"]);
    let all = variations(
        GOOD,
        &[
            ("name: shop", "name: shop"),
            ("name: shop", "nmae: shop"),
            ("name: shop", "name: My Shop"),
            ("name: shop", "name: [shop]"),
            ("fleet:", "flete:"),
            ("  web: { image: web, count: 2, memory: 256M }\n", ""),
            ("  web: { image: web, count: 2, memory: 256M }", "  {}"),
            ("image: web, ", ""),
            ("image: web", "image: web:stable"),
            ("image: web", "image: Web!"),
            ("count: 2", "count: 0"),
            ("count: 2", "count: 33"),
            ("count: 2", "count: -1"),
            ("count: 2", "count: '2'"),
            ("256M", "256"),
            ("256M", "1M"),
            ("memory: 256M", "cpus: 0"),
        ],
        said,
    );
    insta::assert_snapshot!(all);
}

#[test]
fn names_and_numbers_that_do_not_fit() {
    let desk = Desk::with(&[("shop.yaml", GOOD), ("My Shop.yaml", "fleet: { web: { image: web } }\n")]);
    let commands: &[&[&str]] = &[
        &["up", "My Shop.yaml"],
        &["up", "shop.yaml", "--name", "A"],
        &["up", "shop.yaml", "-n", "3"],
        &["up", "shop.yml"],
        &["up", "shop"],
        &["up", "./shop"],
    ];
    let said: Vec<String> = commands.iter().map(|command| desk.refused(command)).collect();
    insta::assert_snapshot!(said.join("\n"));
}
