//! What faults of the clock share.

use super::inside::leased;
use crate::units::Span;

/// The end of both: the true time is told from the clock that nobody sets.
pub(super) const END: &str = "return_clock";

/// Arguments: what the offset was, and what was stopped.
pub(super) const GONE: &str = r#"
now=$(offset) || exit 1
off=$((now - $1)) limit=$((by / 4 + 20))
shift
# Who keeps the clock may have found that it was wrong before.
[ $# -eq 0 ] || limit=$((by / 2))
[ "${off#-}" -le "$limit" ] || fail "its clock is still off by $off ms"
[ $# -eq 0 ] || for name; do
  case $(systemctl is-active "$name") in active | activating) ;; *) fail "$name was not started again" ;; esac
done
echo "its clock is off by $off ms${1:+, and $* keeps it}"
"#;

pub(super) const UNDO: &str =
    leased!("The clock is set to the time that it would show, and what keeps it is started again.");

/// Less cannot be told from the noise of a slow guest.
pub(super) const LEAST: std::time::Duration = std::time::Duration::from_millis(100);

pub(super) fn check(by: Span) -> Result<(), String> {
    match by.0 < LEAST {
        true => Err(format!("a clock that is off by less than {} proves nothing", Span(LEAST))),
        false => Ok(()),
    }
}
