//! Whether what a Secret holds is what its type says.
//!
//! Here: [`wrong`], asked before it is sealed, when whoever wrote it is still there to be told, and [`fix`]; [`is_pem`].
//! Not here: which keys a type has (`manifest`).
//! Invariant: nothing that is said of a value holds a part of it.
//! Why so little of X.509: whether a certificate is right for a host, and whether somebody believes it, is for those who
//! look at it. What Traefik would leave out without a word is one that it cannot read, or one with another's key.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::SecretKind;

/// Labels of certificates.
pub const CERTIFICATES: [&str; 1] = ["CERTIFICATE"];
/// Labels of keys.
pub const KEYS: [&str; 4] = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "EC PARAMETERS"];

/// What is wrong with the values of a Secret of this type; a value that is not there is nobody's here.
#[must_use]
pub fn wrong<'v>(kind: SecretKind, value: impl Fn(&str) -> Option<&'v [u8]>) -> Option<String> {
    let text = |key: &str| value(key).map(|bytes| std::str::from_utf8(bytes).unwrap_or_default());
    match kind {
        SecretKind::Tls => pair(text("tls.crt")?, text("tls.key")?).err(),
        SecretKind::BasicAuth => {
            let (name, password) = (text("username")?, text("password")?);
            let bad =
                name.is_empty() || name.contains(':') || name.chars().any(char::is_control) || password.is_empty();
            bad.then(|| "its `username` is empty or has a colon, or its `password` is empty".into())
        }
        SecretKind::Opaque | SecretKind::Registry | SecretKind::Cloudflare | SecretKind::Password => None,
    }
}

/// What to do about it.
#[must_use]
pub fn fix(kind: SecretKind) -> &'static str {
    match kind {
        SecretKind::Tls => {
            "write them as PEM: tls.crt with the certificate of the host first, tls.key with its own key, not encrypted"
        }
        SecretKind::BasicAuth => "write a name without a colon, and a password",
        SecretKind::Opaque | SecretKind::Registry | SecretKind::Cloudflare | SecretKind::Password => {
            "write what its type says"
        }
    }
}

/// Whether a text is PEM blocks, all of them with one of these labels, at least one of them.
#[must_use]
pub fn is_pem(text: &str, labels: &[&str]) -> bool {
    let mut rest = text.trim();
    while !rest.is_empty() {
        let Some((label, body)) = rest.strip_prefix("-----BEGIN ").and_then(|r| r.split_once("-----")) else {
            return false;
        };
        let Some((inside, after)) = body.split_once(&format!("-----END {label}-----")) else { return false };
        // Keys may have headers (`Proc-Type`): only the encrypted ones do, and Traefik cannot open those.
        let bytes: String = inside.split_ascii_whitespace().collect();
        // What openssl writes before a key names its curve, and is no sequence.
        let first = if label == "EC PARAMETERS" { 0x06 } else { 0x30 };
        if !labels.contains(&label) || STANDARD.decode(&bytes).map_or(true, |b| b.first() != Some(&first)) {
            return false;
        }
        rest = after.trim_start();
    }
    !text.trim().is_empty()
}

/// The bytes of a text's first block that has one of these labels.
fn first(text: &str, labels: &[&'static str]) -> Option<(&'static str, Vec<u8>)> {
    labels.iter().find_map(|label| {
        let inside = text.split_once(&format!("-----BEGIN {label}-----"))?.1.split_once("-----END ")?.0;
        let bytes: String = inside.split_ascii_whitespace().collect();
        Some((*label, STANDARD.decode(bytes).ok()?))
    })
}

/// Whether a certificate and a key can be read and belong together. A key that does not say its public part is believed.
fn pair(certificate: &str, key: &str) -> Result<(), String> {
    for (name, text, labels) in [("tls.crt", certificate, &CERTIFICATES[..]), ("tls.key", key, &KEYS)] {
        if !is_pem(text, labels) {
            return Err(format!("its key `{name}` is not PEM with {}", labels[0]));
        }
    }
    let leaf = first(certificate, &CERTIFICATES).map(|(_, der)| der).filter(|der| is_certificate(der));
    let leaf = leaf.ok_or("its key `tls.crt` holds no certificate")?;
    let (label, der) = first(key, &KEYS[..3]).ok_or("its key `tls.key` holds no key")?;
    match public(label, &der).ok_or("its key `tls.key` holds no key")? {
        Some(public) if !leaf.windows(public.len().max(1)).any(|part| part == public) => {
            Err("its `tls.key` is not the key of its `tls.crt`".into())
        }
        Some(_) | None => Ok(()),
    }
}

const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// 1.2.840.113549.1.1.1.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.10045.2.1.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// One element of DER (X.690): its tag, what is in it, what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

/// What is in an element of this tag, and what follows it.
fn inside(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(bytes).filter(|(found, ..)| *found == tag).map(|(_, content, after)| (content, after))
}

/// RFC 5280, section 4.1: what is signed, how, the signature.
fn is_certificate(der: &[u8]) -> bool {
    let signed = |der| {
        let (all, after) = inside(der, SEQUENCE)?;
        let (_, rest) = inside(all, SEQUENCE)?;
        let (_, rest) = inside(rest, SEQUENCE)?;
        inside(rest, BITS).map(|_| after.is_empty())
    };
    signed(der).unwrap_or_default()
}

/// The public part that a key says, if it says one; none: it is no key.
fn public<'k>(label: &str, der: &'k [u8]) -> Option<Option<&'k [u8]>> {
    match label {
        "RSA PRIVATE KEY" => rsa(der).map(Some),
        "EC PRIVATE KEY" => ec(der),
        _ => {
            // RFC 5208: version, algorithm, key.
            let (all, _) = inside(der, SEQUENCE)?;
            let (_, rest) = inside(all, INTEGER)?;
            let (algorithm, rest) = inside(rest, SEQUENCE)?;
            let (key, _) = inside(rest, OCTETS)?;
            match inside(algorithm, OID)?.0 {
                RSA => rsa(key).map(Some),
                EC => ec(key),
                _ => Some(None),
            }
        }
    }
}

/// RFC 8017, A.1.2: version, modulus.
fn rsa(der: &[u8]) -> Option<&[u8]> {
    let (all, _) = inside(der, SEQUENCE)?;
    let (_, rest) = inside(all, INTEGER)?;
    inside(rest, INTEGER).map(|(modulus, _)| modulus)
}

/// RFC 5915: version, key, and perhaps the curve and the point.
fn ec(der: &[u8]) -> Option<Option<&[u8]>> {
    const POINT: u8 = 0xa1;
    let (all, _) = inside(der, SEQUENCE)?;
    let (_, rest) = inside(all, INTEGER)?;
    let (_, mut rest) = inside(rest, OCTETS)?;
    while let Some((tag, content, after)) = element(rest) {
        if tag == POINT {
            // Written out whole, as in a certificate; the short form of a point would have to be reckoned.
            return inside(content, BITS).map(|(bits, _)| bits.get(1..).filter(|point| point.first() == Some(&4)));
        }
        rest = after;
    }
    Some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC_CRT: &str = "-----BEGIN CERTIFICATE-----
MIIBbzCCARWgAwIBAgIUWmqokLp3SbWfnrB4G7mn+YvHE5UwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBYTAgFw0yNjExMjYyMTA1NDBaGA8yMTI2MTEwMjIxMDU0MFow
DDEKMAgGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDxK08aqcy1d
fm2CmXzSV87oRNXBU/1D4mvrSS2mBF0q8TIzz7f4QEWYDcglRLjeda5ickTNX4Py
EPGTmfS6gASjUzBRMB0GA1UdDgQWBBRRYL5sLtA2Z0BGw2Hp9nhQ+VLC7zAfBgNV
HSMEGDAWgBRRYL5sLtA2Z0BGw2Hp9nhQ+VLC7zAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0gAMEUCIQDmbazHt9x002jM29CDjY4xy8YmrGf5S/A1qeyE5UaL
KQIgEt9FrR3pOLY6V0dODQCCdBESnMykECm7Ko1vMtYRilk=
-----END CERTIFICATE-----
";
    const EC_KEY: &str = "-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIBQsS+sYYecyBkP8nt/dgtfPvvTXB0FmVyFpVkGFKb1qoAoGCCqGSM49
AwEHoUQDQgAEPErTxqpzLV1+bYKZfNJXzuhE1cFT/UPia+tJLaYEXSrxMjPPt/hA
RZgNyCVEuN51rmJyRM1fg/IQ8ZOZ9LqABA==
-----END EC PRIVATE KEY-----
";
    const EC_PKCS8: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgFCxL6xhh5zIGQ/ye
392C18++9NcHQWZXIWlWQYUpvWqhRANCAAQ8StPGqnMtXX5tgpl80lfO6ETVwVP9
Q+Jr60ktpgRdKvEyM8+3+EBFmA3IJUS43nWuYnJEzV+D8hDxk5n0uoAE
-----END PRIVATE KEY-----
";
    const EC_OTHER: &str = "-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIIoY2kuCBYdIgfIJLlxr2mlbNR3i8qNHmQwIgKrpK/Q8oAoGCCqGSM49
AwEHoUQDQgAEQTiawU0vVY07SVl7BBH1gOnWd7JfQnkX1xqx0JE3v/3Tf7FQ4hXr
JUfb5prn9BsZ+xtpxATQnqxcOhRfpA0zTg==
-----END EC PRIVATE KEY-----
";
    const RSA_CRT: &str = "-----BEGIN CERTIFICATE-----
MIIB9jCCAV+gAwIBAgIUPQ5M585wu2SCUqc/1tgNVs0xfmcwDQYJKoZIhvcNAQEL
BQAwDDEKMAgGA1UEAwwBYTAgFw0yNjExMjYyMTA1NDBaGA8yMTI2MTEwMjIxMDU0
MFowDDEKMAgGA1UEAwwBYTCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkCgYEAvbIa
nWd2+ruYICUVguKdknqu3t41n2k/PdgFdnenT2DHcpvO1syi6IJKnRGG1zS8HVTr
nWGsRVrsyGA9tcv5Ne9/1Js7qHfWpdO1GFsPFVXxGdHQGaft6o9c+sORvGvQl3Xh
KYuIMdHZWKinqAXMnT6lVLUkGV2EwaDOCVln1iMCAwEAAaNTMFEwHQYDVR0OBBYE
FNn0lZII4/CpoEbn6otG+Z11wJYQMB8GA1UdIwQYMBaAFNn0lZII4/CpoEbn6otG
+Z11wJYQMA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZIhvcNAQELBQADgYEAZ10rdnxa
VwcbHkAW70Xtq+7y8dZX7sOtsNuCSFaorAOBG03wHlxDPMDNDfcoRccObz+VnLZc
v6w+dxd8hYzPczg4MwfggFBtNI20UhhjR0FxHSuX4YQ8+RJ6k9ZwarxBtZIYdf5y
MKD2RNdcA4IvqBQi+NQR2DKIkkwQXA1jpa4=
-----END CERTIFICATE-----
";
    const RSA_KEY: &str = "-----BEGIN PRIVATE KEY-----
MIICeAIBADANBgkqhkiG9w0BAQEFAASCAmIwggJeAgEAAoGBAL2yGp1ndvq7mCAl
FYLinZJ6rt7eNZ9pPz3YBXZ3p09gx3KbztbMouiCSp0Rhtc0vB1U651hrEVa7Mhg
PbXL+TXvf9SbO6h31qXTtRhbDxVV8RnR0Bmn7eqPXPrDkbxr0Jd14SmLiDHR2Vio
p6gFzJ0+pVS1JBldhMGgzglZZ9YjAgMBAAECgYEArObk2WnQCdPpYgtLIySZSUUn
lR5nM+jDawQ2XnfLeU+WG4GmsySMrG7twWKTTB7WA8o+hBHd6s1om28VcFn9yDi0
4FrI7ez49NDLaryqdj+d4y5oUXnVbwA5jrvMiR2XNKVKVNKXDX8Cs06EicnJcqTo
uT73IFduMJrZlV2tYMECQQDhUAk/avWme7PADsQ1A7CX59hXARM8Ns4B3LtY2n0g
fP9ulivCw4e8wFdxC7mNE5EKWcE8h8tAxd/oTOw7vGZDAkEA14g26VDWyp+DAhCf
PY3u4BJfQlFwxXxryDCWVw1moq2uKm49aJU2wtW4NPcu8mt8MaQPYKk7w2Wz343L
O/UCoQJBAMwTkky+tIF2yfjLZywdi3YLqQglEScY/L7zDz4LqAolLbccjcZ7FBcC
oDDkTcxaTKTzZvNMi+y/TW87PT1eB8ECQBiYo+OWZRy0fWfj67hDlUoe7p4L2zm+
TDKJUO7YSakw9tpCwGFJ/fjYGPB6cPIbUA3+Mf8O8RIIbjGJ5fKOsGECQQC0JwwY
MScl/Ppwe+6sVxbc5+6aWDUxSM0DjTHMzqCZR9MTgRY4E7nVKDIskkaJ12n0IJfe
3NY4/eJErvw/YCbA
-----END PRIVATE KEY-----
";
    const RSA_PKCS1: &str = "-----BEGIN RSA PRIVATE KEY-----
MIICXgIBAAKBgQC9shqdZ3b6u5ggJRWC4p2Seq7e3jWfaT892AV2d6dPYMdym87W
zKLogkqdEYbXNLwdVOudYaxFWuzIYD21y/k173/Umzuod9al07UYWw8VVfEZ0dAZ
p+3qj1z6w5G8a9CXdeEpi4gx0dlYqKeoBcydPqVUtSQZXYTBoM4JWWfWIwIDAQAB
AoGBAKzm5Nlp0AnT6WILSyMkmUlFJ5UeZzPow2sENl53y3lPlhuBprMkjKxu7cFi
k0we1gPKPoQR3erNaJtvFXBZ/cg4tOBayO3s+PTQy2q8qnY/neMuaFF51W8AOY67
zIkdlzSlSlTSlw1/ArNOhInJyXKk6Lk+9yBXbjCa2ZVdrWDBAkEA4VAJP2r1pnuz
wA7ENQOwl+fYVwETPDbOAdy7WNp9IHz/bpYrwsOHvMBXcQu5jRORClnBPIfLQMXf
6EzsO7xmQwJBANeINulQ1sqfgwIQnz2N7uASX0JRcMV8a8gwllcNZqKtripuPWiV
NsLVuDT3LvJrfDGkD2CpO8Nls9+Nyzv1AqECQQDME5JMvrSBdsn4y2csHYt2C6kI
JREnGPy+8w8+C6gKJS23HI3GexQXAqAw5E3MWkyk82bzTIvsv01vOz09XgfBAkAY
mKPjlmUctH1n4+u4Q5VKHu6eC9s5vkwyiVDu2EmpMPbaQsBhSf342BjwenDyG1AN
/jH/DvESCG4xieXyjrBhAkEAtCcMGDEnJfz6cHvurFcW3Ofumlg1MUjNA40xzM6g
mUfTE4EWOBO51SgyLJJGiddp9CCX3tzWOP3iRK78P2AmwA==
-----END RSA PRIVATE KEY-----
";
    const ED_CRT: &str = "-----BEGIN CERTIFICATE-----
MIIBLjCB4aADAgECAhRHOGu11XmP8u1LXVWneLygEUmWaTAFBgMrZXAwDDEKMAgG
A1UEAwwBYTAgFw0yNjExMjYyMTA1NDBaGA8yMTI2MTEwMjIxMDU0MFowDDEKMAgG
A1UEAwwBYTAqMAUGAytlcAMhAIilVny3L4TG89ntzdcjVZJ+/R3qQPQTGCVee9hl
1vWEo1MwUTAdBgNVHQ4EFgQUA6FS6Sze3ztFZKgL2SZFQi2D7+cwHwYDVR0jBBgw
FoAUA6FS6Sze3ztFZKgL2SZFQi2D7+cwDwYDVR0TAQH/BAUwAwEB/zAFBgMrZXAD
QQBSrC5bW5YhAJuagk+I+3LsZL47FSMN5bG52BclI59r1s0CfMRJflGW/hh0n/ZT
YKKq9gvh7AKFHZ6yHTDPS1UC
-----END CERTIFICATE-----
";
    const ED_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIBeyiHZ8QtE4oAS058+dcTOjusz7cIs4zOUyNGzQzJjB
-----END PRIVATE KEY-----
";

    fn said(kind: SecretKind, values: &[(&str, &str)]) -> Option<String> {
        wrong(kind, |key| values.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_bytes()))
    }
    fn tls(certificate: &str, key: &str) -> Option<String> {
        said(SecretKind::Tls, &[("tls.crt", certificate), ("tls.key", key)])
    }

    #[test]
    fn a_certificate_and_its_key_are_right_and_another_key_is_not() {
        let chain = format!("{EC_CRT}{RSA_CRT}");
        for (certificate, key) in [
            (EC_CRT, EC_KEY),
            (EC_CRT, EC_PKCS8),
            (&chain, EC_KEY),
            (RSA_CRT, RSA_KEY),
            (RSA_CRT, RSA_PKCS1),
            (ED_CRT, ED_KEY),
        ] {
            assert_eq!(tls(certificate, key), None, "{certificate}{key}");
        }
        let other = Some("its `tls.key` is not the key of its `tls.crt`".to_owned());
        for (certificate, key) in
            [(EC_CRT, EC_OTHER), (EC_CRT, RSA_KEY), (RSA_CRT, EC_PKCS8), (RSA_CRT, EC_KEY), (ED_CRT, RSA_PKCS1)]
        {
            assert_eq!(tls(certificate, key), other, "{certificate}{key}");
        }
        // The first is the one that is shown.
        assert_eq!(tls(&format!("{RSA_CRT}{EC_CRT}"), EC_KEY), other);
    }

    #[test]
    fn what_is_none_is_said_without_a_value() {
        let fake = |label: &str| format!("-----BEGIN {label}-----\nMAAA\n-----END {label}-----\n");
        for (certificate, key, why) in [
            ("geheim", EC_KEY, "`tls.crt` is not PEM"),
            (EC_CRT, "geheim", "`tls.key` is not PEM"),
            (EC_CRT, EC_CRT, "`tls.key` is not PEM"),
            (&fake("CERTIFICATE"), EC_KEY, "holds no certificate"),
            (EC_CRT, &fake("PRIVATE KEY"), "holds no key"),
            (EC_CRT, &fake("EC PRIVATE KEY"), "holds no key"),
            (EC_CRT, &fake("RSA PRIVATE KEY"), "holds no key"),
        ] {
            let found = tls(certificate, key).unwrap_or_default();
            assert!(found.contains(why) && !found.contains("geheim"), "{why}: {found}");
        }
        assert_eq!(said(SecretKind::Tls, &[("tls.crt", "geheim")]), None, "what is missing is told elsewhere");
        assert!(said(SecretKind::BasicAuth, &[("username", "a:b"), ("password", "geheim")]).is_some());
        assert_eq!(said(SecretKind::BasicAuth, &[("username", "a"), ("password", "geheim")]), None);
        assert_eq!(said(SecretKind::Opaque, &[("tls.crt", "geheim"), ("tls.key", "geheim")]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60), at in 0..400_usize) {
            let whole = first(RSA_KEY, &KEYS).unwrap().1;
            let cut = [&whole[..at.min(whole.len())], &bytes].concat();
            for der in [&bytes, &cut] {
                let _ = (is_certificate(der), public("PRIVATE KEY", der), public("EC PRIVATE KEY", der), rsa(der));
            }
        }
    }
}
