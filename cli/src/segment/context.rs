//! The object `context` of an event: where it happened, as Segment's libraries report it.
//!
//! Fields stand in alphabetical order, which is their order in the JSON.

use rand::rngs::StdRng;
use serde::Serialize;

use super::catalog::Person;
use super::random::{chance, pick};

/// Where an event comes from, which decides what its context holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// analytics.js in a browser.
    Web,
    /// A mobile app.
    App,
    /// A server of the shop, which knows no device.
    Server,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Context {
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<App>,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign: Option<Campaign>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Device>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    library: Library,
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<Network>,
    #[serde(skip_serializing_if = "Option::is_none")]
    os: Option<Os>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) page: Option<Page>,
    #[serde(skip_serializing_if = "Option::is_none")]
    screen: Option<Screen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timezone: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traits: Option<ContextTraits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent_data: Option<UserAgentData>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct App {
    build: &'static str,
    name: &'static str,
    namespace: &'static str,
    version: &'static str,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Campaign {
    content: &'static str,
    medium: &'static str,
    name: &'static str,
    source: &'static str,
    term: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    ad_tracking_enabled: bool,
    id: String,
    manufacturer: &'static str,
    model: &'static str,
    name: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Library {
    name: &'static str,
    version: &'static str,
}

#[derive(Debug, Serialize)]
struct Network {
    bluetooth: bool,
    carrier: &'static str,
    cellular: bool,
    wifi: bool,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Os {
    name: &'static str,
    version: &'static str,
}

/// The page that was open; `page` events repeat it in their properties.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Page {
    pub(super) path: &'static str,
    pub(super) referrer: &'static str,
    pub(super) search: &'static str,
    pub(super) title: &'static str,
    pub(super) url: &'static str,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Screen {
    density: u32,
    height: u32,
    width: u32,
}

#[derive(Debug, Serialize)]
struct ContextTraits {
    email: String,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct UserAgentData {
    brands: &'static [Brand],
    mobile: bool,
    platform: &'static str,
}

#[derive(Debug, Serialize)]
struct Brand {
    brand: &'static str,
    version: &'static str,
}

const CHROMIUM: &[Brand] = &[
    Brand {
        brand: "Chromium",
        version: "130",
    },
    Brand {
        brand: "Google Chrome",
        version: "130",
    },
    Brand {
        brand: "Not?A_Brand",
        version: "99",
    },
];

#[rustfmt::skip]
const BROWSERS: &[(&str, Option<UserAgentData>)] = &[
    ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36", Some(UserAgentData { brands: CHROMIUM, mobile: false, platform: "macOS" })),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36", Some(UserAgentData { brands: CHROMIUM, mobile: false, platform: "Windows" })),
    ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0", None),
    ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1", None),
];

#[rustfmt::skip]
const PAGES: &[Page] = &[
    Page { path: "/", referrer: "https://www.google.com/", search: "?utm_source=newsletter&utm_medium=email", title: "Lumen Shop", url: "https://shop.example/?utm_source=newsletter&utm_medium=email" },
    Page { path: "/displays/mon-27-4k", referrer: "https://shop.example/displays", search: "", title: "27\" Monitor, 4K – Lumen Shop", url: "https://shop.example/displays/mon-27-4k" },
    Page { path: "/größen", referrer: "", search: "?q=gr%C3%B6%C3%9Fe%20s", title: "Größen & Maße – Lumen Shop", url: "https://shop.example/gr%C3%B6%C3%9Fen?q=gr%C3%B6%C3%9Fe%20s" },
    Page { path: "/cart", referrer: "https://shop.example/displays/mon-27-4k", search: "", title: "Your cart – Lumen Shop", url: "https://shop.example/cart" },
    Page { path: "/checkout/payment", referrer: "https://shop.example/cart", search: "?step=2", title: "Checkout – Lumen Shop", url: "https://shop.example/checkout/payment?step=2" },
    Page { path: "/blog/2026/11/how-we-ship", referrer: "https://news.example/item?id=41", search: "", title: "How we ship", url: "https://shop.example/blog/2026/11/how-we-ship" },
];

#[rustfmt::skip]
const CAMPAIGNS: &[Campaign] = &[
    Campaign { content: "image link", medium: "email", name: "TPS Innovation Newsletter", source: "Newsletter", term: "tps reports" },
    Campaign { content: "Herbst – Bild 2", medium: "cpc", name: "herbst_2026", source: "google", term: "monitor größe" },
];

const LIBRARIES_OF_SERVERS: &[Library] = &[
    Library {
        name: "@segment/analytics-node",
        version: "2.1.3",
    },
    Library {
        name: "analytics-python",
        version: "2.3.2",
    },
];

impl Context {
    /// What the libraries add to an event of this person from there.
    pub(super) fn new(origin: Origin, person: Person, known: bool, rng: &mut StdRng) -> Self {
        let traits = (known && chance(rng, 40)).then(|| ContextTraits {
            email: person.email(),
        });
        match origin {
            Origin::Web => Self::web(person, traits, rng),
            Origin::App => Self::app(person, traits, rng),
            Origin::Server => Self {
                ip: Some(person.ip()),
                ..Self::bare(*pick(rng, LIBRARIES_OF_SERVERS), traits)
            },
        }
    }

    fn bare(library: Library, traits: Option<ContextTraits>) -> Self {
        Self {
            active: None,
            app: None,
            campaign: None,
            device: None,
            ip: None,
            library,
            locale: None,
            network: None,
            os: None,
            page: None,
            screen: None,
            timezone: None,
            traits,
            user_agent: None,
            user_agent_data: None,
        }
    }

    fn web(person: Person, traits: Option<ContextTraits>, rng: &mut StdRng) -> Self {
        let browser = person.constant(3) as usize % BROWSERS.len();
        let (user_agent, user_agent_data) = BROWSERS[browser];
        Self {
            campaign: chance(rng, 30).then(|| *pick(rng, CAMPAIGNS)),
            ip: Some(person.ip()),
            locale: Some(person.persona.locale),
            page: Some(*pick(rng, PAGES)),
            timezone: Some(person.persona.timezone),
            user_agent: Some(user_agent),
            user_agent_data,
            ..Self::bare(
                Library {
                    name: "analytics.js",
                    version: "npm:next-1.76.0",
                },
                traits,
            )
        }
    }

    fn app(person: Person, traits: Option<ContextTraits>, rng: &mut StdRng) -> Self {
        let apple = person.constant(4).is_multiple_of(2);
        let (library, os, maker, model, device_name, user_agent) = if apple {
            (
                Library {
                    name: "analytics-swift",
                    version: "1.6.2",
                },
                Os {
                    name: "iOS",
                    version: "18.1.1",
                },
                "Apple",
                "iPhone16,2",
                "maguro",
                "LumenShop/3.1 CFNetwork/1568.200.51 Darwin/24.1.0",
            )
        } else {
            (
                Library {
                    name: "analytics-kotlin",
                    version: "1.19.1",
                },
                Os {
                    name: "Android",
                    version: "15",
                },
                "Google",
                "Pixel 8 Pro",
                "husky",
                "Dalvik/2.1.0 (Linux; U; Android 15; Pixel 8 Pro Build/AP3A.241105.008)",
            )
        };
        let wifi = chance(rng, 60);
        Self {
            active: Some(true),
            app: Some(App {
                build: "3.1.1042",
                name: "Lumen Shop",
                namespace: "example.shop.lumen",
                version: "3.1.0",
            }),
            device: Some(Device {
                ad_tracking_enabled: chance(rng, 30),
                id: person.anonymous_id().to_uppercase(),
                manufacturer: maker,
                model,
                name: device_name,
                kind: if apple { "ios" } else { "android" },
            }),
            ip: Some(person.ip()),
            locale: Some(person.persona.locale),
            network: Some(Network {
                bluetooth: chance(rng, 50),
                carrier: "T-Mobile",
                cellular: !wifi,
                wifi,
            }),
            os: Some(os),
            screen: Some(Screen {
                density: 3,
                height: 852,
                width: 393,
            }),
            timezone: Some(person.persona.timezone),
            user_agent: Some(user_agent),
            ..Self::bare(library, traits)
        }
    }
}
