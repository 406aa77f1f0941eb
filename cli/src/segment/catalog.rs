//! The made-up shop: its visitors, its goods, its companies.
//!
//! Names carry what breaks naive code: letters of several scripts, an apostrophe, a quotation mark,
//! an ampersand, a surrogate pair.

use super::random::{spread, uuid};

/// How many different people visit the shop.
pub(super) const PEOPLE: u64 = 2_000;

/// What several visitors have in common.
#[derive(Debug)]
pub(super) struct Persona {
    pub(super) first_name: &'static str,
    pub(super) last_name: &'static str,
    /// The local part of the e-mail address, before a number.
    pub(super) handle: &'static str,
    pub(super) city: &'static str,
    pub(super) country: &'static str,
    pub(super) postal_code: &'static str,
    pub(super) locale: &'static str,
    pub(super) timezone: &'static str,
    pub(super) currency: &'static str,
}

macro_rules! persona {
    ($($field:ident: $value:expr),* $(,)?) => { Persona { $($field: $value),* } };
}

#[rustfmt::skip]
const PERSONAS: &[Persona] = &[
    persona! { first_name: "Ada", last_name: "Okafor", handle: "ada.okafor", city: "Lagos", country: "NG", postal_code: "100001", locale: "en-NG", timezone: "Africa/Lagos", currency: "USD" },
    persona! { first_name: "Zoë", last_name: "Müller", handle: "zoe.mueller", city: "Zürich", country: "CH", postal_code: "8001", locale: "de-CH", timezone: "Europe/Zurich", currency: "CHF" },
    persona! { first_name: "Liam", last_name: "O'Brien", handle: "liam.obrien", city: "Dublin", country: "IE", postal_code: "D02 X285", locale: "en-IE", timezone: "Europe/Dublin", currency: "EUR" },
    persona! { first_name: "秀英", last_name: "王", handle: "wang.xiuying", city: "臺北市", country: "TW", postal_code: "100", locale: "zh-TW", timezone: "Asia/Taipei", currency: "USD" },
    persona! { first_name: "María José", last_name: "García Núñez", handle: "mj.garcia", city: "Ciudad de México", country: "MX", postal_code: "06000", locale: "es-MX", timezone: "America/Mexico_City", currency: "MXN" },
    persona! { first_name: "Олена", last_name: "Шевченко", handle: "olena.shevchenko", city: "Київ", country: "UA", postal_code: "01001", locale: "uk-UA", timezone: "Europe/Kyiv", currency: "EUR" },
    persona! { first_name: "Søren", last_name: "Ødegård", handle: "soren.odegaard", city: "Ålesund", country: "NO", postal_code: "6002", locale: "nb-NO", timezone: "Europe/Oslo", currency: "NOK" },
    persona! { first_name: "Nguyễn", last_name: "Thị Hoa", handle: "hoa.nguyen", city: "Hà Nội", country: "VN", postal_code: "100000", locale: "vi-VN", timezone: "Asia/Ho_Chi_Minh", currency: "USD" },
    persona! { first_name: "محمد", last_name: "الفاسي", handle: "m.elfassi", city: "الدار البيضاء", country: "MA", postal_code: "20250", locale: "ar-MA", timezone: "Africa/Casablanca", currency: "EUR" },
    persona! { first_name: "Priya", last_name: "Raghunathan", handle: "priya.r", city: "Bengaluru", country: "IN", postal_code: "560001", locale: "en-IN", timezone: "Asia/Kolkata", currency: "INR" },
    persona! { first_name: "さくら", last_name: "佐藤", handle: "sakura.sato", city: "横浜市", country: "JP", postal_code: "220-0011", locale: "ja-JP", timezone: "Asia/Tokyo", currency: "JPY" },
    persona! { first_name: "Emily", last_name: "Hartmann-Reyes", handle: "emily.hr", city: "Portland", country: "US", postal_code: "97201", locale: "en-US", timezone: "America/Los_Angeles", currency: "USD" },
];

/// One visitor. The same number is the same person in every run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Person {
    number: u64,
    pub(super) persona: &'static Persona,
}

impl Person {
    /// The person of this number.
    pub(super) fn new(number: u64) -> Self {
        let kind = usize::try_from(number).unwrap_or(0) % PERSONAS.len();
        Self {
            number,
            persona: &PERSONAS[kind],
        }
    }

    /// A number that stays with the person, different for each `use_for`.
    pub(super) fn constant(self, use_for: u64) -> u64 {
        spread(self.number ^ (use_for << 32))
    }

    pub(super) fn user_id(self) -> String {
        format!("usr_{:06}", 100_000 + self.number)
    }

    pub(super) fn anonymous_id(self) -> String {
        uuid(self.constant(1), self.constant(2))
    }

    pub(super) fn email(self) -> String {
        format!("{}.{}@example.com", self.persona.handle, self.number)
    }

    /// An address out of the blocks that RFC 5737 keeps free for documentation.
    pub(super) fn ip(self) -> String {
        let block = ["192.0.2", "198.51.100", "203.0.113"][(self.number % 3) as usize];
        format!("{block}.{}", self.number % 254 + 1)
    }
}

/// Something that the shop sells.
#[derive(Debug)]
pub(super) struct Product {
    pub(super) id: &'static str,
    pub(super) sku: &'static str,
    pub(super) name: &'static str,
    pub(super) brand: &'static str,
    pub(super) category: &'static str,
    /// In hundredths of the currency.
    pub(super) price: u32,
}

macro_rules! product {
    ($id:literal, $sku:literal, $name:literal, $brand:literal, $category:literal, $price:literal) => {
        Product {
            id: $id,
            sku: $sku,
            name: $name,
            brand: $brand,
            category: $category,
            price: $price,
        }
    };
}

#[rustfmt::skip]
pub(super) const PRODUCTS: &[Product] = &[
    product!("507f1f77bcf86cd799439011", "MON-27-4K", "27\" Monitor, 4K", "Lumen & Sons", "Displays", 32_900),
    product!("505bd76785ebb509fc183733", "CBL-USBC-2", "USB-C cable, 2 m", "Draht", "Cables", 1_250),
    product!("5b1e7a20c9f1d8000a2c4e01", "KBD-TKL-DE", "Tastatur „Größe S“", "Klick", "Keyboards", 8_999),
    product!("5b1e7a20c9f1d8000a2c4e02", "CAM-HD-01", "Webcam HD", "Lumen & Sons", "Cameras", 4_500),
    product!("5b1e7a20c9f1d8000a2c4e03", "MUG-CAT-M", "Mug with a cat 🐈, 350 ml", "Haus", "Kitchen", 1_199),
    product!("5b1e7a20c9f1d8000a2c4e04", "CHR-ERGO-B", "Chair/Desk set «Ergo»", "Sitzwerk", "Furniture", 44_950),
    product!("5b1e7a20c9f1d8000a2c4e05", "HDP-NC-BLK", "ノイズキャンセリング ヘッドホン", "音", "Audio", 19_800),
    product!("5b1e7a20c9f1d8000a2c4e06", "BAT-AA-24", "Batteries AA × 24", "Volt", "Accessories", 999),
];

/// A company whose people visit the shop.
#[derive(Debug)]
pub(super) struct Company {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) industry: &'static str,
    pub(super) plan: &'static str,
    pub(super) employees: u32,
    pub(super) website: &'static str,
}

#[rustfmt::skip]
pub(super) const COMPANIES: &[Company] = &[
    Company { id: "0e8c78ea9d97a7b8185e8632", name: "Initech", industry: "Technology", plan: "enterprise", employees: 329, website: "https://initech.example" },
    Company { id: "1f9d89fb0ea8b8c9296f9743", name: "Bäckerei Groß & Söhne", industry: "Food", plan: "starter", employees: 14, website: "https://baeckerei-gross.example" },
    Company { id: "2a0e90ac1fb9c9da3a70a854", name: "株式会社みらい", industry: "Robotics", plan: "business", employees: 2_150, website: "https://mirai.example" },
    Company { id: "3b1fa1bd20cada4b81b965e0", name: "Société Générale des Câbles", industry: "Manufacturing", plan: "business", employees: 870, website: "https://cables.example" },
];

/// What people type into the search field.
pub(super) const SEARCHES: &[&str] = &[
    "usb c",
    "größe s",
    "monitor 27\"",
    "noise cancelling",
    "椅子",
    "mug \\ cup",
    "batteries aa",
];

/// Codes that take something off.
pub(super) const COUPONS: &[&str] = &["WELCOME10", "SUMMER-25", "FREESHIP"];
