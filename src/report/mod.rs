//! Reports: JUnit, terminal, Markdown. All are made from the journal and nothing else.
