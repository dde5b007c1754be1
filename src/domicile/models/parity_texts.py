"""The texts on which an embedder is compared with its reference: always the same, of every kind and length."""

from __future__ import annotations

from itertools import cycle, islice

_SENTENCES = (
    "The parental leave of an employee begins on the day after the birth and ends after sixteen weeks.",
    "Interest rates rose again in March, although most analysts had expected the bank to wait.",
    "Who signs a purchase order above 25,000 euros?",
    "In 1793 the Louvre opened its doors to the public with 537 paintings.",
    "Backups run at 02:30 UTC; restore tests are due every quarter (see section 4.2).",
    "A receipt records which model answered, in which region, and what it cost.",
    "He didn't reply - not even to the third e-mail, which had been marked URGENT!!!",
    "Photosynthesis converts carbon dioxide and water into glucose, releasing oxygen as a by-product.",
    "Der Betriebsrat muss vor jeder Kündigung angehört werden; eine Ausnahme gibt es nicht.",
    "Les congés payés s'acquièrent à raison de deux jours et demi par mois de travail effectif.",
    "El contrato podrá rescindirse con treinta días de antelación mediante notificación por escrito.",
    "Il dipendente ha diritto al rimborso delle spese di viaggio documentate.",
    "Wniosek urlopowy należy złożyć najpóźniej na dwa tygodnie przed planowanym urlopem.",
    "Çalışanların yıllık izin süresi kıdemlerine göre belirlenir.",
    "Договор вступает в силу с момента подписания обеими сторонами.",
    "Ο υπάλληλος δικαιούται άδεια μετά από δώδεκα μήνες υπηρεσίας.",
    "يبدأ سريان هذا الاتفاق من تاريخ التوقيع عليه.",
    "העובד זכאי לחופשה שנתית בתשלום.",
    "कर्मचारी को वर्ष में बीस दिन की छुट्टी मिलती है।",
    "พนักงานมีสิทธิลาป่วยได้ตามจริง",
    "従業員は入社後六か月で年次有給休暇を取得できます。",
    "员工每年享有十五天带薪年假，未休部分可顺延至次年三月。",
    "모든 직원은 매년 건강 검진을 받아야 합니다.",
    "Nhân viên được nghỉ phép mười hai ngày mỗi năm.",
    "def area(radius: float) -> float:\n    return math.pi * radius ** 2  # square metres",
    "SELECT name, COUNT(*) FROM orders WHERE total >= 19.99 GROUP BY name HAVING COUNT(*) > 3;",
    '{"regions": ["eu", "local"], "sensitivity": "internal", "retention_days": 0}',
    "| Grade | Days |\n|---|---|\n| A1 | 25 |\n| B2 | 28.5 |",
    "# Heading\n\n* item one\n* item two with `code` and a [link](https://example.org/a?b=c#d)",
    "3.14159 2,718 1e-9 0x7f 2026-11-23T10:15:00Z +49 30 123456 192.0.2.17 v1.2.3-rc4 50% §7",
    'for i in $(seq 1 10); do curl -sS "http://127.0.0.1:8000/livez" || exit 1; done',
    "E = mc², ∫₀¹ x² dx = ⅓, α ≤ β ⇒ ¬γ, 25 °C, ½ litre, “quoted” ‘text’ — and… more",
    "Emoji 🎉👩‍💻🇪🇺 beside words, a soft\u00adhyphen, a zero\u200bwidth space and a no\u00a0break one.",
    "naïve café résumé Ångström e\u0301te\u0301 (combining) ﬁne ﬂow ＦＵＬＬ　ＷＩＤＴＨ",
    "Donaudampfschifffahrtsgesellschaftskapitän pneumonoultramicroscopicsilicovolcanoconiosis",
    "[CLS] words that look like [MASK] special tokens [SEP] in a text",
    "\tleading tab, trailing blanks   \r\n\r\nand empty lines\n\n\n",
)
_WORDS = ("leave", "Vertrag", "2027", "GDPR", "é", "?", "日", "running", "unbelievableness", "🎉", "x", "a-b_c")


def parity_texts() -> list[str]:
    """240 texts: single words, sentences in many scripts, code, tables, and passages up to far beyond 256 pieces."""
    texts = [*_WORDS, *_SENTENCES]
    for start, length in zip(range(151), cycle((2, 2, 3, 3, 4, 5, 6, 8)), strict=False):
        sentences = islice(cycle(_SENTENCES), start, start + (60 if start == 0 else length))
        texts.append((" " if start % 3 else "\n\n").join(sentences))
    words = " ".join(_SENTENCES).split()
    texts += [" ".join(islice(cycle(words), 31 * count, 32 * count)) for count in range(1, 41)]
    return texts
