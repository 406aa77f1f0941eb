//! What the events are about: `properties` of track, page and screen, `traits` of identify and
//! group. Names and meanings are those of Segment's e-commerce specification.
//!
//! Fields stand in alphabetical order, which is their order in the JSON.

use rand::Rng;
use rand::rngs::StdRng;
use serde::{Serialize, Serializer};

use super::catalog::{COMPANIES, COUPONS, Company, PRODUCTS, Person, Product, SEARCHES};
use super::context::Page;
use super::random::{chance, pick, uuid};

/// An amount of money in hundredths, written as JavaScript writes the number: `12.5`, never
/// `12.50`, and `329`, never `329.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount(u32);

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(100) {
            serializer.serialize_u32(self.0 / 100)
        } else {
            serializer.serialize_f64(f64::from(self.0) / 100.0)
        }
    }
}

/// The properties of one event.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Properties {
    Order(Order),
    Product(ProductLine),
    List {
        category: &'static str,
        list_id: &'static str,
        products: Vec<ProductLine>,
    },
    Search {
        query: &'static str,
        results: u32,
    },
    Coupon {
        cart_id: String,
        coupon_id: &'static str,
        coupon_name: &'static str,
        discount: Amount,
    },
    Account {
        method: &'static str,
        plan: &'static str,
        referred_by: Option<String>,
        terms_accepted: bool,
    },
    Review {
        product_id: &'static str,
        rating: u32,
        review_body: &'static str,
    },
    Page(PageProperties),
    Screen {
        name: &'static str,
        tab_index: u32,
        unread: u32,
    },
}

#[derive(Debug, Serialize)]
pub(super) struct Order {
    affiliation: &'static str,
    checkout_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    coupon: Option<&'static str>,
    currency: &'static str,
    discount: Amount,
    order_id: String,
    products: Vec<ProductLine>,
    revenue: Amount,
    shipping: Amount,
    tax: Amount,
    total: Amount,
}

#[derive(Debug, Serialize)]
pub(super) struct ProductLine {
    brand: &'static str,
    category: &'static str,
    name: &'static str,
    position: u32,
    price: Amount,
    product_id: &'static str,
    quantity: u32,
    sku: &'static str,
}

/// A page as its own event tells it.
#[derive(Debug, Serialize)]
pub(super) struct PageProperties {
    keywords: [&'static str; 2],
    name: &'static str,
    path: &'static str,
    referrer: &'static str,
    search: &'static str,
    title: &'static str,
    url: &'static str,
}

/// What is known about a person or an account.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Traits {
    Person(Box<PersonTraits>),
    Company {
        employees: u32,
        industry: &'static str,
        name: &'static str,
        plan: &'static str,
        website: &'static str,
    },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PersonTraits {
    address: Address,
    age: u32,
    company: CompanyOfPerson,
    created_at: String,
    description: &'static str,
    email: String,
    first_name: &'static str,
    last_name: &'static str,
    lifetime_value: Amount,
    marketing_opt_in: bool,
    name: String,
    tags: [&'static str; 2],
    username: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Address {
    city: &'static str,
    country: &'static str,
    postal_code: &'static str,
    street: String,
}

#[derive(Debug, Serialize)]
struct CompanyOfPerson {
    employee_count: u32,
    id: &'static str,
    industry: &'static str,
    name: &'static str,
}

const REVIEWS: &[&str] = &[
    "Great 👍\nBut the box was dented.",
    "Sehr gut – \"wie neu\". Gerne wieder!",
    "Works with my C:\\drivers after a restart.",
];

/// The names of track events and how often each occurs, in percent.
const TRACKED: &[(&str, u32)] = &[
    ("Product Viewed", 30),
    ("Product Added", 16),
    ("Product List Viewed", 10),
    ("Products Searched", 14),
    ("Checkout Started", 6),
    ("Order Completed", 10),
    ("Coupon Applied", 4),
    ("Signed Up", 6),
    ("Product Reviewed", 4),
];

/// One thing that the person did: its name and its properties.
pub(super) fn tracked(person: Person, rng: &mut StdRng) -> (&'static str, Properties) {
    let mut draw = rng.random_range(0..TRACKED.iter().map(|(_, percent)| percent).sum());
    let event = TRACKED
        .iter()
        .find(|(_, percent)| {
            let hit = draw < *percent;
            draw = draw.saturating_sub(*percent);
            hit
        })
        .map_or(TRACKED[0].0, |(event, _)| *event);
    let properties = match event {
        "Order Completed" | "Checkout Started" => Properties::Order(Order::new(person, rng)),
        "Product List Viewed" => {
            let products = lines(3, rng);
            Properties::List {
                category: products[0].category,
                list_id: "autumn_2026",
                products,
            }
        }
        "Products Searched" => Properties::Search {
            query: pick::<&str>(rng, SEARCHES),
            results: rng.random_range(0..90),
        },
        "Coupon Applied" => {
            let coupon = *pick(rng, COUPONS);
            Properties::Coupon {
                cart_id: uuid(rng.random(), rng.random()),
                coupon_id: coupon,
                coupon_name: coupon,
                discount: Amount(rng.random_range(100..5_000)),
            }
        }
        "Signed Up" => Properties::Account {
            method: pick::<&str>(rng, &["email", "google", "apple"]),
            plan: pick::<&str>(rng, &["free", "pro"]),
            referred_by: chance(rng, 30)
                .then(|| format!("usr_{}", rng.random_range(100_000..102_000))),
            terms_accepted: true,
        },
        "Product Reviewed" => Properties::Review {
            product_id: pick(rng, PRODUCTS).id,
            rating: rng.random_range(1..=5),
            review_body: pick::<&str>(rng, REVIEWS),
        },
        _ => Properties::Product(ProductLine::new(pick(rng, PRODUCTS), 1, rng)),
    };
    (event, properties)
}

/// A page that was seen.
pub(super) fn page(page: &Page) -> Properties {
    Properties::Page(PageProperties {
        keywords: ["shop", "größe"],
        name: page.title,
        path: page.path,
        referrer: page.referrer,
        search: page.search,
        title: page.title,
        url: page.url,
    })
}

/// A screen that was seen: its name and its properties.
pub(super) fn screen(rng: &mut StdRng) -> (&'static str, Properties) {
    let name = pick::<&str>(rng, &["Home", "Orders", "Einstellungen", "お知らせ"]);
    let (tab_index, unread) = (rng.random_range(0..4), rng.random_range(0..20));
    (
        name,
        Properties::Screen {
            name,
            tab_index,
            unread,
        },
    )
}

/// The company that a person belongs to.
pub(super) fn company(person: Person) -> &'static Company {
    &COMPANIES[person.constant(5) as usize % COMPANIES.len()]
}

impl Order {
    fn new(person: Person, rng: &mut StdRng) -> Self {
        let count = rng.random_range(1..=3);
        let products = lines(count, rng);
        let revenue: u32 = products
            .iter()
            .map(|line| line.price.0 * line.quantity)
            .sum();
        let discount = if chance(rng, 25) { revenue / 10 } else { 0 };
        let shipping = if revenue > 10_000 { 0 } else { 495 };
        let tax = (revenue - discount) / 5;
        Self {
            affiliation: "Lumen Shop",
            checkout_id: uuid(rng.random(), rng.random()),
            coupon: (discount > 0).then(|| *pick(rng, COUPONS)),
            currency: person.persona.currency,
            discount: Amount(discount),
            order_id: format!("{:08}", rng.random_range(10_000_000..99_999_999_u32)),
            products,
            revenue: Amount(revenue),
            shipping: Amount(shipping),
            tax: Amount(tax),
            total: Amount(revenue - discount + shipping + tax),
        }
    }
}

impl ProductLine {
    fn new(product: &Product, position: u32, rng: &mut StdRng) -> Self {
        Self {
            brand: product.brand,
            category: product.category,
            name: product.name,
            position,
            price: Amount(product.price),
            product_id: product.id,
            quantity: rng.random_range(1..=3),
            sku: product.sku,
        }
    }
}

fn lines(count: u32, rng: &mut StdRng) -> Vec<ProductLine> {
    (1..=count)
        .map(|position| ProductLine::new(pick(rng, PRODUCTS), position, rng))
        .collect()
}

impl Traits {
    /// What the shop knows about the person; `created_at` is the time they signed up.
    pub(super) fn of_person(person: Person, created_at: String, rng: &mut StdRng) -> Self {
        let persona = person.persona;
        let company = company(person);
        Self::Person(Box::new(PersonTraits {
            address: Address {
                city: persona.city,
                country: persona.country,
                postal_code: persona.postal_code,
                street: format!("Rue de l'Église {}", person.constant(6) % 200 + 1),
            },
            age: 18 + (person.constant(7) % 60) as u32,
            company: CompanyOfPerson {
                employee_count: company.employees,
                id: company.id,
                industry: company.industry,
                name: company.name,
            },
            created_at,
            description: "Asked for a call back; prefers e-mail.\tSee \"notes\".",
            email: person.email(),
            first_name: persona.first_name,
            last_name: persona.last_name,
            lifetime_value: Amount(rng.random_range(0..900_000)),
            marketing_opt_in: chance(rng, 40),
            name: format!("{} {}", persona.first_name, persona.last_name),
            tags: ["beta", "newsletter"],
            username: persona.handle.replace('.', "_"),
        }))
    }

    /// What the shop knows about the company.
    pub(super) fn of_company(company: &Company) -> Self {
        Self::Company {
            employees: company.employees,
            industry: company.industry,
            name: company.name,
            plan: company.plan,
            website: company.website,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Amount;

    #[test]
    fn amounts_are_written_as_javascript_writes_them() {
        for (hundredths, text) in [
            (0, "0"),
            (100, "1"),
            (32_900, "329"),
            (1_250, "12.5"),
            (999, "9.99"),
            (5, "0.05"),
        ] {
            assert_eq!(serde_json::to_string(&Amount(hundredths)).unwrap(), text);
        }
    }
}
