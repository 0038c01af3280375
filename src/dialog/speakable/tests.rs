//! The normaliser by table: text and how it is spoken, by language.

use proptest::prelude::*;

use super::*;

fn english(text: &str) -> String {
    speakable(text, &Language::default())
}

fn spoken(tag: &str, text: &str) -> String {
    speakable(text, &Language::parse(tag).unwrap())
}

#[test]
fn every_rule_compiles() {
    assert_eq!(ENGLISH.len(), english::RULES.len());
    assert_eq!(FRENCH.len(), french::RULES.len());
    assert_eq!(KINYARWANDA.len(), kinyarwanda::RULES.len());
    assert_eq!(OTHERS.len(), OTHERS_RULES.len());
}

#[test]
fn english_figures_become_words() {
    let cases = [
        ("Call +250 788 123 456.", "Call plus two five zero, seven eight eight, one two three, four five six."),
        ("Call 0788-123-456 now", "Call zero seven eight, eight one two, three four five six now"),
        ("Open 9:30 to 17:05", "Open nine thirty to seventeen oh five"),
        ("At 8:00, at 14:00", "At eight o'clock, at fourteen hundred"),
        ("From 9 am to 5 p.m. daily", "From nine a.m. to five p.m. daily"),
        ("Come at 9.30 a.m. sharp", "Come at nine thirty a.m. sharp"),
        ("9:00-17:30", "nine o'clock to seventeen thirty"),
        ("Mon-Fri, 9-5pm", "Monday to Friday, 9 to five p.m."),
        ("It is $5.50 or RWF 1,500", "It is five dollars and fifty cents or one thousand five hundred francs"),
        ("1 USD, 20 EUR, £0.01", "one dollar, twenty euros, one penny"),
        ("$5.5", "five dollars and fifty cents"),
        ("$3.5 million, RWF 2 billion", "three point five million dollars, two billion francs"),
        ("On 2026-03-05 at noon", "On March fifth, twenty twenty-six at noon"),
        ("On 21/03/2005", "On March twenty-first, two thousand and five"),
        ("on the 5th of March", "on March fifth"),
        ("5 Mar 2026, July 1, 1962", "March fifth, twenty twenty-six, July first, nineteen sixty-two"),
        ("in March 1994, since 1962", "in March nineteen ninety-four, since nineteen sixty-two"),
        ("Take 500 mg 2x daily", "Take five hundred milligrams twice daily"),
        ("5-10 mg", "five to ten milligrams"),
        ("0.5 ml, 1 mg, 15 mg/kg", "zero point five millilitres, one milligram, fifteen milligrams per kilogram"),
        ("38.5 °C and 20%", "thirty-eight point five degrees Celsius and twenty percent"),
        ("It is -5 °C", "It is minus five degrees Celsius"),
        (
            "26,338 km², 80 km/h",
            "twenty-six thousand three hundred and thirty-eight square kilometres, eighty kilometres per hour",
        ),
        ("120/80 mmHg", "one hundred and twenty over eighty millimetres of mercury"),
        ("½ or 3/4 of it", "one half or three quarters of it"),
        ("the 2nd, 21st and 100th", "the second, twenty-first and one hundredth"),
        ("1,250,000 people & more", "one million two hundred and fifty thousand people and more"),
        ("1,005 or 26338", "one thousand and five or twenty-six thousand three hundred and thirty-eight"),
        ("pi is 3.14", "pi is three point one four"),
        ("Your code is 482913.", "Your code is four eight two, nine one three."),
        ("extension 204", "extension two zero four"),
        ("No. 5, Dr. Uwera, e.g. Monday", "number 5, Doctor Uwera, for example Monday"),
        ("Visit https://www.example.org/help/faq?x=1#top.", "Visit example dot org slash help slash faq."),
        ("Write to front-desk@example.co.rw", "Write to front dash desk at example dot co dot rw"),
        ("Room 5 on floor 2", "Room 5 on floor 2"),
        ("No. It is taken.", "No. It is taken."),
        ("99:99 and 31/31/2026", "99:99 and 31/31/2026"),
        ("24/7", "24/7"),
    ];
    for (text, expected) in cases {
        assert_eq!(english(text), expected, "{text}");
    }
}

#[test]
fn the_order_of_a_date_follows_the_region() {
    assert_eq!(spoken("en-US", "04/05/1980"), "April fifth, nineteen eighty");
    assert_eq!(english("04/05/1980"), "May fourth, nineteen eighty");
}

#[test]
fn french_figures_become_words() {
    let cases = [
        ("Appelez le 0788123456", "Appelez le zéro sept huit, huit un deux, trois quatre cinq six"),
        (
            "à 9:30, 14 h, 21h05 et 1 h 15",
            "à neuf heures trente, quatorze heures, vingt et une heures cinq et une heure quinze",
        ),
        ("de 8h-17h30", "de huit heures à dix-sept heures trente"),
        ("12:00", "midi"),
        ("le 2026-03-05", "le cinq mars deux mille vingt-six"),
        ("le 01/07/1962", "le premier juillet mille neuf cent soixante-deux"),
        ("le 1er mai", "le premier mai"),
        ("5,50 € ou 1 500 FRW", "cinq euros cinquante ou mille cinq cents francs"),
        ("1 €, 2 millions RWF", "un euro, deux millions de francs"),
        ("80 000 €, 21 GBP", "quatre-vingt mille euros, vingt et une livres"),
        ("500 mg 2x par jour", "cinq cents milligrammes deux fois par jour"),
        (
            "0,5 ml, 1,5 l, 15 mg/kg",
            "zéro virgule cinq millilitre, un virgule cinq litre, quinze milligrammes par kilogramme",
        ),
        ("38,5 °C et 20 %", "trente-huit virgule cinq degrés Celsius et vingt pour cent"),
        ("71, 80, 91, 99 km", "71, 80, 91, quatre-vingt-dix-neuf kilomètres"),
        ("26 338 km²", "vingt-six mille trois cent trente-huit kilomètres carrés"),
        ("la 1ère, le 2e et le 21e", "la première, le deuxième et le vingt et unième"),
        ("Votre code est 4829", "Votre code est quatre huit deux neuf"),
        ("p. ex. Dr Uwera & Mme Keza", "par exemple docteur Uwera et Madame Keza"),
        ("https://example.org/aide", "example point org barre oblique aide"),
        ("info@example.org", "info arobase example point org"),
        ("chambre 5", "chambre 5"),
    ];
    for (text, expected) in cases {
        assert_eq!(spoken("fr", text), expected, "{text}");
    }
}

#[test]
fn french_tens_follow_the_region() {
    for (tag, expected) in [
        ("fr", ["soixante et onze", "quatre-vingts", "quatre-vingt-onze", "deux cent quatre-vingt-un"]),
        ("fr-RW", ["septante et un", "quatre-vingts", "nonante et un", "deux cent quatre-vingt-un"]),
        ("fr-CH", ["septante et un", "huitante", "nonante et un", "deux cent huitante et un"]),
    ] {
        let language = Language::parse(tag).unwrap();
        for (count, words) in ["71", "80", "91", "281"].into_iter().zip(expected) {
            assert_eq!(number(count, &language), words, "{tag}");
        }
    }
}

#[test]
fn kinyarwanda_has_digits_counts_and_round_sums() {
    let cases = [
        ("Hamagara 0788123456", "Hamagara zeru karindwi umunani, umunani rimwe kabiri, gatatu kane gatanu gatandatu"),
        ("RWF 1,500", "amafaranga igihumbi na magana atanu"),
        ("20 000 Frw", "amafaranga ibihumbi makumyabiri"),
        ("20%", "makumyabiri ku ijana"),
        ("1,501 RWF", "1,501 RWF"),
        ("kode 4829", "kode kane umunani kabiri icyenda"),
        ("https://www.example.org/", "example.org"),
    ];
    for (text, expected) in cases {
        assert_eq!(spoken("rw", text), expected, "{text}");
    }
    let language = Language::parse("rw").unwrap();
    for (count, words) in [
        ("7", "karindwi"),
        ("10", "icumi"),
        ("13", "cumi na gatatu"),
        ("42", "mirongo ine na kabiri"),
        ("365", "magana atatu na mirongo itandatu na gatanu"),
        ("2026", "ibihumbi bibiri na makumyabiri na gatandatu"),
        ("123456", "123456"),
    ] {
        assert_eq!(number(count, &language), words);
    }
}

#[test]
fn other_languages_only_have_numbers_spaced_and_links_shortened() {
    assert_eq!(spoken("de", "Tel. 0788123456 um 9:30"), "Tel. 0 7 8, 8 1 2, 3 4 5 6 um 9:30");
    assert_eq!(spoken("sw", "https://www.example.org/a?b=c sasa"), "example.org/a sasa");
}

#[test]
fn digits_are_spelled_in_groups() {
    let english = Language::default();
    assert_eq!(spell_digits("12051980", &english), "one two, zero five, one nine eight zero");
    assert_eq!(spell_digits("42", &english), "four two");
    assert_eq!(spell_digits("", &english), "");
}

#[test]
fn what_is_spoken_is_not_changed_again() {
    for text in ["On 2026-03-05 at 9:30, $5.50, 500 mg, 21st", "Call 0788123456 or see https://example.org/a"] {
        let once = english(text);
        assert_eq!(english(&once), once);
    }
}

proptest! {
    #[test]
    fn never_panics_and_never_grows_without_bound(text in "[0-9a-zA-Zé:.,/$€%@ +()°h-]{0,200}") {
        for tag in ["en", "fr", "fr-CH", "rw", "sw"] {
            let language = Language::parse(tag).unwrap();
            prop_assert!(speakable(&text, &language).len() <= text.len() * 40 + 40);
        }
    }

    #[test]
    fn french_and_english_numbers_have_no_figures(count in 0_u64..1_000_000_000_000) {
        for tag in ["en", "fr", "fr-CH"] {
            let words = number(&count.to_string(), &Language::parse(tag).unwrap());
            prop_assert!(!words.chars().any(|c| c.is_ascii_digit()), "{words}");
        }
    }
}
