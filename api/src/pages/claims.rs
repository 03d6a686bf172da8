//! Tells the page where tokens say what, so that it offers to each what the reader will answer.
//!
//! It stands in the page itself: nothing has to be fetched, and nothing can fail, before the page knows who looks at it.

use serde::Serialize;

use crate::settings::Claims;

/// The place in the page, as it is built. Empty, it means the defaults.
const PLACE: &str = r#"<meta name="usage-ledger-claims" content="" />"#;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    organizations: &'a [String],
    admin_roles: &'a [String],
    staff: &'a [String],
    staff_value: &'a str,
}

/// The page with these claims in it.
pub(super) fn filled(page: &str, claims: &Claims) -> Result<String, serde_json::Error> {
    let told = serde_json::to_string(&Told {
        organizations: claims.organizations.names(),
        admin_roles: &claims.admin_roles,
        staff: claims.staff.names(),
        staff_value: &claims.staff_value,
    })?;
    let escaped = told
        .replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;");
    let full = PLACE.replace(r#"content="""#, &format!(r#"content="{escaped}""#));
    Ok(page.replacen(PLACE, &full, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_place_and_what_is_told_there_stays_a_text() {
        let page = include_str!("../../dashboard/index.html");
        assert_eq!(page.matches(PLACE).count(), 1);
        let claims = Claims {
            organizations: "/https:~1~1example.com~1orgs".parse().expect("a pointer"),
            staff_value: r#""><script>&amp;"#.to_owned(),
            ..Claims::default()
        };
        let filled = filled(page, &claims).expect("json");
        let content = "{&quot;organizations&quot;:[&quot;https://example.com/orgs&quot;],\
            &quot;adminRoles&quot;:[&quot;owner&quot;,&quot;admin&quot;],&quot;staff&quot;:[&quot;platformRole&quot;],\
            &quot;staffValue&quot;:&quot;\\&quot;>&lt;script>&amp;amp;&quot;}";
        let expected = page.replace(
            PLACE,
            &format!(r#"<meta name="usage-ledger-claims" content="{content}" />"#),
        );
        assert_eq!(filled, expected);
    }
}
