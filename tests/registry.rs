//! The registry of providers: the file and the database agree, operators change it while it runs, budgets and failures
//! change what is chosen, and without the database the file serves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that meets the unexpected fails by panicking"
)]

mod store_support;

use futures_util::StreamExt as _;
use offhook::providers::config::ProvidersConfig;
use offhook::providers::credentials::Vault;
use offhook::providers::registry::entry::{Category, Entry, Id, Usd};
use offhook::providers::registry::serve::{RegistryLlm, RegistryTts};
use offhook::providers::registry::{Registry, RegistryConfig, RegistryError, Source, Upkeep};
use offhook::providers::{Language, Llm, LlmEvent, Message, ProviderError, ReplyRequest, Role, SpeakRequest, Tts};
use offhook::safety::said::clear;
use offhook::sim::vendors::{Refusal, VendorStandIns};
use offhook::store::{DatabaseConfig, Origin, Tables};
use offhook::telemetry::metrics::Metrics;
use offhook::telemetry::pii::Pii;
use store_support::Folder;

on_both_databases! {
    the_file_comes_and_goes_and_what_operators_said_stays
    models_are_chosen_by_health_price_and_budget_and_use_is_kept
    voices_are_chosen_by_language_and_paid_by_the_character
    a_key_of_the_vault_serves_and_a_variable_goes_before_it
}

async fn the_file_comes_and_goes_and_what_operators_said_stays(folder: Folder) {
    write(&folder, &[("a", 3), ("b", 4), ("c", 5)]);
    let (registry, upkeep) =
        start(&folder, RegistryConfig::default(), &VendorStandIns::start(Vec::new()).await.unwrap()).await;
    assert_eq!(chosen(&registry), ["c", "b", "a"]);
    registry.disable(&id("c"), Some("sounds bad")).await.unwrap();
    assert_eq!(chosen(&registry), ["b", "a"]);
    assert_eq!(why(&registry, "c"), "disabled: sounds bad");
    registry.add(entry("d", 5)).await.unwrap();
    assert_eq!(chosen(&registry), ["d", "b", "a"]);
    let refused = registry.add(entry("a", 5)).await.unwrap_err();
    assert!(matches!(&refused, RegistryError::Refused(why) if why.contains("is in the file")), "{refused}");
    assert!(matches!(registry.disable(&id("x"), None).await, Err(RegistryError::Unknown(_))));
    // Hot: the file changes while it runs.
    write(&folder, &[("a", 5), ("c", 5)]);
    registry.reload().await.unwrap();
    assert_eq!(chosen(&registry), ["a", "d"], "b went with the file, c stays switched off");
    std::fs::write(file(&folder), "providers:\n  - id: broken\n").unwrap();
    let refused = registry.reload().await.unwrap_err().to_string();
    assert!(refused.contains("apis.yaml:2: providers[0]: missing field"), "{refused}");
    assert_eq!(chosen(&registry), ["a", "d"], "what was known stays");
    upkeep.stop().await;
    // Another process.
    write(&folder, &[("a", 5), ("c", 5)]);
    let (registry, upkeep) =
        start(&folder, RegistryConfig::default(), &VendorStandIns::start(Vec::new()).await.unwrap()).await;
    assert_eq!(chosen(&registry), ["a", "d"]);
    let origins: Vec<_> =
        registry.list().iter().map(|shown| (shown.listed.entry.id.as_str().to_owned(), shown.listed.origin)).collect();
    assert_eq!(
        origins,
        [("a".to_owned(), Origin::File), ("c".to_owned(), Origin::File), ("d".to_owned(), Origin::Api)]
    );
    registry.disable(&id("c"), None).await.unwrap();
    assert_eq!(chosen(&registry), ["a", "c", "d"]);
    upkeep.stop().await;
}

async fn models_are_chosen_by_health_price_and_budget_and_use_is_kept(folder: Folder) {
    let vendors = VendorStandIns::start(Vec::new()).await.unwrap();
    let text = "providers:\n\
        \x20 - {id: best, category: llm, title: Best, client: openai, quality: 5, price: {usd: 100000, per: million_tokens},\
        \x20    limits: {usd_per_day: 2.5}}\n\
        \x20 - {id: next, category: llm, title: Next, client: anthropic, quality: 4, price: {usd: 100, per: million_tokens}}\n\
        \x20 - {id: abroad, category: llm, title: Abroad, client: openai, regions: [us], quality: 5}\n";
    std::fs::write(file(&folder), text).unwrap();
    let config = RegistryConfig { region: Some("eu".to_owned()), ..RegistryConfig::default() };
    let (registry, upkeep) = start(&folder, config.clone(), &vendors).await;
    let models = RegistryLlm::new(registry.clone());
    let taken = || taken(&registry, Category::Llm, None);
    assert_eq!(taken(), ["best", "next"]);
    // A dollar a question: the stand-in says that it was told 10 tokens, at 0.1 $ each.
    assert_eq!(ask(&models).await.unwrap(), "hello");
    assert_eq!(vendors.llm.counters().requests, 1);
    // It begins to fail: after three times it is not asked any more, and somebody answers each time.
    vendors.llm.set(|model| model.refusal = Some(Refusal::ServerError));
    for _ in 0..5 {
        assert_eq!(ask(&models).await.unwrap(), "hello");
    }
    assert_eq!((vendors.llm.counters().requests, vendors.anthropic.counters().requests), (4, 5));
    assert_eq!(taken(), ["next"]);
    let decided = registry.select(Category::Llm, None);
    let why = |id: &str| decided.iter().find(|one| one.id == id).unwrap().why.clone();
    assert!(why("best").starts_with("left alone: ") && why("best").contains("HTTP 500"), "{}", why("best"));
    assert_eq!(why("abroad"), "is not served from eu");
    let used = registry.usage(None).await.unwrap();
    let of = |id: &str| used.iter().find(|one| one.provider == id).unwrap().clone();
    assert_eq!((of("best").requests, of("best").failures, of("next").requests), (4, 3, 5));
    assert!((1.0..2.5).contains(&of("best").usd), "{:?}", of("best"));
    upkeep.stop().await;

    // Another process has forgotten the failures, and knows what was spent.
    vendors.llm.set(|model| model.refusal = None);
    let (registry, upkeep) = start(&folder, config.clone(), &vendors).await;
    let models = RegistryLlm::new(registry.clone());
    for _ in 0..4 {
        assert_eq!(ask(&models).await.unwrap(), "hello");
    }
    let decided = registry.select(Category::Llm, None);
    assert_eq!(decided[0].id, "next", "{decided:?}");
    assert!(decided.iter().any(|one| one.why == "its budget of $2.5 for the day is spent"), "{decided:?}");
    let changes = tables(&folder).await.health_changes(10).await.unwrap();
    assert_eq!(
        changes.iter().map(|change| (change.provider.as_str(), change.failing.is_some())).collect::<Vec<_>>(),
        [("best", true)]
    );
    upkeep.stop().await;

    // The purse for all: only what is free would still be chosen, and here nothing is.
    let config = RegistryConfig { usd_per_day: Some(Usd(0.5)), ..config };
    let (registry, upkeep) = start(&folder, config, &vendors).await;
    assert!(matches!(ask(&RegistryLlm::new(registry.clone())).await, Err(ProviderError::NotConfigured { .. })));
    assert!(registry.select(Category::Llm, None).iter().any(|one| one.why.contains("for all providers is spent")));
    upkeep.stop().await;
}

async fn voices_are_chosen_by_language_and_paid_by_the_character(folder: Folder) {
    let vendors = VendorStandIns::start(Vec::new()).await.unwrap();
    let text = "providers:\n\
        \x20 - {id: english, category: tts, title: E, client: deepgram, languages: [en], quality: 5,\
        \x20    price: {usd: 0.03, per: thousand_characters}}\n\
        \x20 - {id: every, category: tts, title: A, client: openai, quality: 3, price: {usd: 0.015, per: thousand_characters}}\n";
    std::fs::write(file(&folder), text).unwrap();
    let (registry, upkeep) = start(&folder, RegistryConfig::default(), &vendors).await;
    let voices = RegistryTts::new(registry.clone()).unwrap();
    for (language, times) in [("en", 3), ("fr", 1)] {
        for _ in 0..times {
            let request = SpeakRequest {
                text: clear("Twenty characters ok"),
                language: Language::parse(language).unwrap(),
                voice: None,
                rate: 1.0,
            };
            let mut speech = voices.speak(request).await.unwrap();
            let mut samples = 0;
            while let Some(chunk) = speech.next().await {
                samples += chunk.unwrap().samples.len();
            }
            assert!(samples > 4000, "{samples}");
        }
    }
    let used = registry.usage(None).await.unwrap();
    let spent: Vec<_> = used.iter().map(|one| (one.provider.as_str(), one.requests, one.units, one.usd)).collect();
    assert_eq!(spent, [("english", 1, 0.02, 0.0006), ("every", 1, 0.02, 0.0003)], "a hit of the cache costs nothing");
    registry.disable(&id("english"), Some("too dear")).await.unwrap();
    assert_eq!(taken(&registry, Category::Tts, Some("en")), ["every"]);
    upkeep.stop().await;
}

async fn a_key_of_the_vault_serves_and_a_variable_goes_before_it(folder: Folder) {
    let vendors = VendorStandIns::start(Vec::new()).await.unwrap();
    let text = format!(
        "providers:\n\
         \x20 - {{id: kept, category: llm, title: K, client: openai, account: elsewhere, base_url: '{0}/v1', quality: 5}}\n\
         \x20 - {{id: told, category: llm, title: T, client: openai, account: variable, base_url: '{0}/v1', quality: 4}}\n",
        vendors.base_url()
    );
    std::fs::write(file(&folder), &text).unwrap();
    let (registry, upkeep) = start(&folder, RegistryConfig::default(), &vendors).await;
    let models = RegistryLlm::new(registry.clone());
    // No key for the first one: the second one answers by the key of its variable.
    assert_eq!(taken(&registry, Category::Llm, None), ["told"]);
    let why = registry.select(Category::Llm, None).pop().unwrap().why;
    assert!(why.contains("set ELSEWHERE_API_KEY, or `offhook keys add elsewhere`"), "{why}");
    assert_eq!(ask(&models).await.unwrap(), "hello");
    let vault = vault(&folder).await;
    vault.generate().unwrap();
    vault.add("elsewhere", "api_key", &"a-key-of-the-vault".into()).await.unwrap();
    registry.reload().await.unwrap();
    assert_eq!(ask(&models).await.unwrap(), "hello");
    assert_eq!(taken(&registry, Category::Llm, None), ["kept", "told"]);
    assert_eq!(vendors.llm.counters().requests, 2, "the first one served at once");
    vault.rotate().await.unwrap();
    registry.reload().await.unwrap();
    assert_eq!(ask(&models).await.unwrap(), "hello");
    assert_eq!(vendors.llm.counters().requests, 3);
    // By the API nobody sends somebody else's key anywhere.
    let stolen: Entry = serde_json::from_value(serde_json::json!({
        "id": "thief", "category": "llm", "title": "T", "client": "openai", "account": "elsewhere",
        "base_url": "https://thief.example", "quality": 5,
    }))
    .unwrap();
    assert!(matches!(registry.add(stolen).await, Err(RegistryError::Refused(why)) if why.starts_with("account: ")));
    upkeep.stop().await;
}

fn file(folder: &Folder) -> std::path::PathBuf {
    folder.path().join("apis.yaml")
}

/// Recognisers with a quality each.
fn write(folder: &Folder, entries: &[(&str, u8)]) {
    let mut text = "providers:\n".to_owned();
    for (id, quality) in entries {
        text += &format!("  - {{id: {id}, category: stt, title: {id}, client: deepgram, quality: {quality}}}\n");
    }
    std::fs::write(file(folder), text).unwrap();
}

fn entry(id: &str, quality: u8) -> Entry {
    serde_json::from_value(serde_json::json!({
        "id": id, "category": "stt", "title": id, "client": "deepgram", "quality": quality,
    }))
    .unwrap()
}

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

async fn tables(folder: &Folder) -> Tables {
    let database = DatabaseConfig { url: folder.url().map(|url| url.parse().unwrap()) };
    Tables::beside(&database, &folder.data()).await.unwrap()
}

async fn vault(folder: &Folder) -> Vault {
    Vault::new(tables(folder).await, folder.path().join("credentials.key"))
}

async fn start(folder: &Folder, config: RegistryConfig, vendors: &VendorStandIns) -> (Registry, Upkeep) {
    let at = vendors.base_url();
    let providers = serde_json::json!({
        "deepgram": {"base_url": at, "api_key": "k"},
        "openai": {"base_url": format!("{at}/v1"), "api_key": "k"},
        "anthropic": {"base_url": at, "api_key": "k"},
    });
    let providers: ProvidersConfig = serde_json::from_value(providers).unwrap();
    let source = Source {
        file: Some(file(folder)),
        variable: |name| (name == "VARIABLE_API_KEY").then(|| "a-key-of-a-variable".to_owned()),
    };
    let kept = (tables(folder).await, vault(folder).await);
    Registry::start(config, providers, kept, source, Metrics::new()).await.unwrap()
}

fn chosen(registry: &Registry) -> Vec<String> {
    taken(registry, Category::Stt, None)
}

fn taken(registry: &Registry, category: Category, language: Option<&str>) -> Vec<String> {
    let language = language.map(|tag| Language::parse(tag).unwrap());
    let decided = registry.select(category, language.as_ref());
    decided.into_iter().filter(|one| one.rank.is_some()).map(|one| one.id).collect()
}

fn why(registry: &Registry, id: &str) -> String {
    registry.select(Category::Stt, None).into_iter().find(|one| one.id == id).unwrap().why
}

async fn ask(models: &RegistryLlm) -> Result<String, ProviderError> {
    let messages = vec![Message { role: Role::User, content: Pii::new("hello".to_owned()) }];
    let mut answer = models
        .reply(ReplyRequest { messages, temperature: 0.0, max_tokens: 10, tools: std::sync::Arc::default() })
        .await?;
    let mut text = String::new();
    while let Some(event) = answer.next().await.transpose()? {
        if let LlmEvent::Text(piece) = event {
            text += &piece;
        }
    }
    Ok(text.trim().to_owned())
}
