"""Sentences with personal data and secrets, and others that only look so; numbers are made up and have valid check digits.

``«…»`` marks what is to be found, and ``·`` is left out: no line here is itself what a scanner for credentials looks for.
"""

from __future__ import annotations

POSITIVE: dict[str, list[str]] = {
    "EMAIL": [
        "Why did «anna.schmidt@firma.de» not get the invitation?",
        "Forward it to «j.o'neill+hr@mail.example.co.uk», please.",
        "«请联系anna@example.com» 谢谢",
        "Пишите на «ivan@пример.рф», если что",
        "The bounce said: <«bob_99@sub.mail.example.org»> unknown",
        "my address is «kim (at) example (dot) org» for now",
        "contact=«a@b.io»;role=admin",
        "Is «MARIA.ROSSI@ESEMPIO.IT» still with us?",
        "Schreib an «jürgen.groß@straße.example» wegen Urlaub",
        "cc: «x@xn--bcher-kva.example» and nobody else",
    ],
    "PHONE": [
        "Can somebody call «+49 30 901820» about the leak?",
        "Her mobile is «+33 6 12 34 56 78».",
        "Ring «0049 30 901820» after five",
        "(«+44 (0)20 7946 0958»)",
        "WhatsApp: «+1 (415) 555-2671»",
        "he left «+14155552671» as the contact",
        "the number on the form is «(415) 555-2671»",
        "You can call me at «415-555-2671» today",
        "Tel. «030 901820»",
        "Meine Handynummer: Handy «0171 2345678»",
        "mobile «07700 900123» or mail",
        "Téléphone : «01 23 45 67 89»",
        "teléfono «612 34 56 78»",
        "fax «030/901820-17»",
        "My number: «06 12 34 56 78», thanks",
        "contact «020 7946 0958» in London",
        "Rufnummer «0 30 / 90 18 20»",
        "her direct line is «+31-20-624-1111»",
        "«+86 138 0013 8000» hat angerufen",
        "«+4915123456789»是我的号码",
    ],
    "IBAN": [
        "Refund to «DE89 3704 0044 0532 0130 00», please",
        "IBAN:«GB29NWBK60161331926819»",
        "mon compte est «FR14 2004 1010 0505 0001 3M02 606» depuis mai",
        "«NL91 ABNA 0417 1643 00» staat op de factuur",
        "is «es9121000418450200051332» ours?",
        "bonifico su «IT60 X054 2811 1010 0000 0123 456»",
        "«BE68-5390-0754-7034»",
        "Konto «CH93 0076 2011 6238 5295 7» in Zürich",
        "auf «AT61 1904 3002 3457 3201» überwiesen",
        "na «PL61 1090 1014 0000 0712 1981 2874»",
        "«NO93 8601 1117 947» is the shortest one",
        "the longest is «MT84 MALT 0110 0001 2345 MTLC AST0 01S»",
        "to «PT50 0002 0123 1234 5678 9015 4» by Friday",
        "DE number «DE89370400440532013000».",
    ],
    "CARD": [
        "My card «4111 1111 1111 1111» was declined",
        "card=«5555555555554444»&cvc=123",
        "Amex «3782 822463 10005» expires in May",
        "Amex «378282246310005»",
        "«6011-1111-1111-1117» bitte sperren",
        "JCB «3530111333300000» not accepted",
        "Diners «3056 930902 5904»",
        "2-series «2223 0031 2200 3222»",
        "they charged «4111.1111.1111.1111» twice",
        "Karte «4242424242424242», gültig bis 12/29",
        "card «5105 1051 0510 5100» 123",
    ],
    "US_SSN": [
        "The form shows «536-90-4399» as her number",
        "SSN «536904399» was in the mail",
        "social security number: «536 90 4399»",
        "ITIN «912-70-1234» for the contractor",
    ],
    "DE_TAX_ID": [
        "Steuer-ID «86 095 742 719» fehlt",
        "meine IdNr ist «19832456200»",
        "Wem gehört «45308728965»?",
    ],
    "FR_NIR": [
        "numéro de sécu «1 80 04 47 614 931 15»",
        "NIR «288077570137017» à vérifier",
        "«1-24-03-06-957-062-55»",
    ],
    "ES_DNI": [
        "DNI «55802099M» del empleado",
        "¿De quién es «19.893.324-A»?",
        "NIE «X3232708N» caducado",
        "tarjeta «y5595647z»",
    ],
    "IT_CODICE_FISCALE": [
        "codice fiscale «SMPNNP87H26F661F»",
        "«BVM FMF 73D29 A163A» è corretto?",
        "cf: «tbglpl89d13d780x»",
    ],
    "NL_BSN": [
        "BSN «991864463» klopt niet",
        "burgerservicenummer: «600.530.334»",
        "«546464646» is my BSN",
    ],
    "PL_PESEL": [
        "PESEL «87062074185»",
        "czyj jest «57021461156»?",
        "pesel:«37082603793»,",
    ],
    "SE_PERSONNUMMER": [
        "personnummer «970423-8394»",
        "«19970423-8394» står i avtalet",
        "personnummer «1210029748» är fel",
        "Vem är «030713-4361»?",
    ],
    "BE_NATIONAL_NUMBER": [
        "rijksregister «48.12.05-931.11»",
        "numéro national «85041508319»",
        "né après 2000 : «08.05.09-776.59»",
    ],
    "FI_HETU": [
        "henkilötunnus «300329-3728»",
        "kenen on «240486A8710»?",
        "«040589-1403» oli lomakkeessa",
    ],
    "PT_NIF": ["NIF «270 767 142»", "contribuinte n.º «270767142»"],
    "UK_NINO": [
        "NI number «AB 12 34 56 C» is missing",
        "my NINO is «ab123456c»",
        "payroll says «CE 98 76 54 A» twice",
    ],
    "UK_NHS": ["NHS number «024 555 0291»", "the patient's NHS no. is «7576029994»"],
    "CH_AHV": ["AHV «756.8946.0872.62»", "«7560251557140» steht auf der Karte"],
    "IP": [
        "Why was «192.168.1.17» blocked at night?",
        "logins from «84.112.3.9»,",
        "ping «8.8.4.4» fails",
        "who had «2001:db8:85a3::8a2e:370:7334» on Monday?",
        "neighbour «fe80::1ff:fe23:4567:890a» seen",
        "host=«10.20.30.40»:8443",
    ],
    "PRIVATE_KEY": [
        "is this right?\n«-----BEGIN RSA PRI·VATE KEY-----\nMIIEow\nabc/+=\n-----END RSA PRIVATE KEY-----»\nthanks",
        "«-----BEGIN PRI·VATE KEY-----\nMIIEvQIBADANBgkqhkiG»",
    ],
    "AWS_KEY": ["the log shows «AK·IAIOSFODNN7EXAMPLE» in clear", "«AS·IAY34FZKBOKMUTVV7A» expired"],
    "GITHUB_TOKEN": [
        "push with «gh·p_16C7e42F292c6912E7710c838347Ae178B4a» fails",
        "«github·_pat_11ABCDEFG0aBcDeFgHiJkL_mNoPqRsTuVwXyZ» is it leaked?",
    ],
    "GITLAB_TOKEN": ["use «glpat·-abcDEF123456ghiJKL78» in CI"],
    "SLACK_TOKEN": [
        "«xox·b-123456789012-abcdefABCDEF» stopped",
        "post to https://«hooks.slack.com/services/T00000000/B00000000/XXXXXXXX»",
    ],
    "STRIPE_KEY": ["«sk·_live_4eC39HqLyjWDarjtT1zdp7dc» in the repo", "webhook «whsec·_9f8e7d6c5b4a392817»"],
    "GOOGLE_KEY": [
        "maps key «AI·zaSyA-1234567890abcdefghijklmnopqrstu» ok?",
        "token «ya·29.a0AfH6SMBx1234567890abcdef»",
    ],
    "SENDGRID_KEY": ["mail goes out with «SG·.ngeVfQFYQlKU0ufo8x5d1A.TwL2iGABf9DHoTf-09kqeF8tAmbihYzr»"],
    "HUGGING_FACE_TOKEN": ["«hf·_abcdefghijklmnopqrstuvwxyzABCD1234» denied"],
    "REGISTRY_TOKEN": ["npm login with «npm·_abcdefghijklmnopqrstuvwxyz0123456789»"],
    "DOMICILE_KEY": ["my key «dk·_0123456789ab_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP-» is refused"],
    "JWT": ["session «eyJ·hbGciOiJIUzI1NiJ9.eyJ·zdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P» ended"],
    "API_KEY": [
        "«sk·-abcdefghijklmnopqrstuvwx123456» gives 401",
        "«sk·-proj-AbCdEf0123456789GhIjKl_mnop-QRST» rate limit?",
    ],
    "BEARER_TOKEN": ["curl -H 'Authorization: «Bear·er mF_9.B5f-4.1JqM8xYz0Kp»' gives 403"],
    "BASIC_CREDENTIALS": ["The header «Authorization: Ba·sic dXNlcjpwYXNzd29yZA==» is refused"],
    "URL_PASSWORD": ["connect to postgres«://app:hun·ter2@db.internal»/x"],
    "PASSWORD": [
        "the password is «Hunter2!»",
        "pass·word = «s3cr3t-value»",
        "Passwort: «Sommer#2024»",
        'api_k·ey: «"abcdef-ghijkl"»',
        "my passphrase was «correct-horse-7»",
        "mot de passe : «azerty123»",
        "DB_PASS·WORD=«hunterhunter»",
        "client_sec·ret: «9aZ8-bY7c»",
        "The Wi-Fi password is: «Fr33Coffee», right?",
        "guest wifi ps·k: «Abcd1234!»",
        "a = pass·word: «tr0ub4dor&3»",
    ],
}

HIDDEN: dict[str, list[str]] = {
    "CARD": [
        "４１１１ １１１１ １１１１ １１１１",
        "4111\u200b1111\u200b1111\u200b1111",
        "pay with\u200b4111111111111111",
        "4111\u00a01111\u202f1111\u20091111",
        "4111‑1111–1111—1111",
        "٤١١١١١١١١١١١١١١١",
        "𝟒𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏",
        "4\u03361\u03361\u03361\u033611111111111\u03361",
        "4111\u00ad1111\u00ad1111\u00ad1111",
        "4111\x001111\x0011111111",
    ],
    "EMAIL": ["anna＠firma．de", "an\u200bna@fir\u2060ma.de", "anna@firma。de", "𝐚𝐧𝐧𝐚@firma.de"],
    "IBAN": [
        "ＤＥ８９３７０４００４４０５３２０１３０００",
        "DЕ89370400440532013000",
        "IBAN\u200bDE89370400440532013000",
    ],
    "PHONE": ["＋４９ ３０ ９０１８２０", "+49\u200e 30\u200e 901820"],
    "US_SSN": ["536‐90‑4399", "５３６−９０−４３９９"],
    "IP": ["192．168．1．17", "192.168\u200b.1.17"],
    "PASSWORD": ["ｐａｓｓｗｏｒｄ： Hunter2!", "pass\u200bword: Hunter2!"],
}
"""The same, as somebody may write it to get by, or a program that copies."""

NEGATIVE: list[str] = """
How many days of leave do I have in 2024?
What changed between 2023-10-15 and 2024-01-31?
The meeting is on 12.03.2025 at 14:30 in room 4.017.
Which version of Python do we use, 3.11.7 or 3.12?
Is version 10.0.0.1 of the driver supported?
Does v2.4.1.0 fix the bug?
After upgrading to release 5.15.0.91 the print server fails
Firmware 7.2.11.4 was withdrawn, why?
See section 4.2.1.3 of the manual
## 1.2.3.4 Scope
Chapter 3.1.2.2 says nothing of it
What does P-40 measure?
Order 4500012345 has not arrived
Order number 12345678901 is late
PO-2023-004512 is missing from the list
Invoice INV-2024-00123 over 1,250.00 EUR
Purchase order 4501234567 of 12 May
Ticket 20231015-0007 was closed twice
RMA 100200300 for pump P-40
What is ISO 9001:2015 about?
ISO 27001 and ISO/IEC 27701:2019 compared
Is DIN EN 60601-1-2:2014 enough?
EN ISO 13485:2016/A11:2021 requires what?
The budget is 1 250 000 EUR for 2025
We sold 12.345.678,90 € last year
a loss of -1,234,567.89 USD
Revenue grew by +12 500 000 in the quarter
+20 100 000 units were shipped
The tank holds 100 000 000 litres
It costs $1,000,000.00 a year
between 10 000 and 20 000 pieces a month
The temperature is +20.5 degrees
Tolerance is +0.05/-0.02 mm
GMT+1 or UTC+02:00 in summer?
2024-05-01T10:00:00+02:00 is the start
2024-05-01T10:00:00.000Z
The job ran at 00:15:30 and 01:15:30
00:1A:2B:3C:4D:5E is the MAC of the printer
Use std::vector and ns::a::b here
the ratio is 3:2:1 by weight
Call the function parse(12345678)
call me on Monday at 10:30
I will call on 2025-10-15 about it
Phone support is open 24/7, 365 days a year
The phone costs 1.299,00 € with contract
Mobile work is allowed 2 days a week since 01.01.2023
The mobile plan has 100 000 000 bytes
Which cell holds the total, B12 or C120034?
Article number 4006381333931 on the shelf
EAN 4006381333931, GTIN 00012345600012
ISBN 978-3-16-148410-0 in the library
ISBN 9783161484100
ISSN 1234-5679
DOI 10.1000/182 and 10.1038/s41586-020-2649-2
arXiv:2606.31163 reports 85 of 420
PMID 31452104 and PMC6716367
NCT01234567 was a phase 3 trial
The part 12345678 fits the P-40 and the P-60
Serial number SN-00458812-A
serial 1234567890 on the plate
Serial 2023/10/4567-01
Batch 20231015A of the resin
Lot 231015-1431 was recalled
IMEI 490154203237518 of the test phone
Tracking 1Z999AA10123456784 says delivered
DHL 00340434161094042557
UPS tracking 1234 5678 9012
Flight LH1234 on 12 May, seat 14C
Row 4111, column 1111 of the sheet
1111 2222 3333 4444 5555
4111 1111 1111 1112 is no card
4111111111111 is a count
0.4111111111111111 is the mean
The hash is 4111111111111111abcdef0123456789
sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
commit 5d41402abc4b2a76b9719d911017c592
uuid 123e4567-e89b-12d3-a456-426614174000
id 550e8400-e29b-41d4-a716-446655440000
DE89 3704 0044 0532 0130 01 is a typo
DE89 is the prefix of the IBAN
GB29 NWBK is not complete
AT61 and CH93 are room numbers
EU 2016/679 article 30 paragraph 1
Regulation (EU) 2017/745, Annex I, 17.2
§ 4.2.1.3 of the contract
RFC 2822 section 3.4.1
CVE-2021-44228 affects which services?
KB5034441 fails to install
Error 0x80070005 on start
exit code 137 after 600 s
HTTP 404 on /api/v1/items/12345678
port 8443 on localhost 127.0.0.1
bind to 0.0.0.0 and mask 255.255.255.0
the network 10.0.0.0/8 is internal
192.168.0.0/16 is routed where?
the range is ::/0 and ::1
12345678A is wrong
the article 12345678-B is green
AB 12 34 56 is a locker
AB123456E is a model
GB 12 34 56 A is not one
TN123456A is a drum
Building ABCDEF12G34H567I has a plan
000-12-3456 is a test number
666-12-3456 is another
123-00-4567 and 123-45-0000 are none
987-66-4320 is a dummy
A 123-45-678 part
01-123-45-6789-9 is a catalogue number
The code 12345678902 opens nothing
number 99999999999
11111111111 was typed by the cat
the value 123456789 is a placeholder
BSN is short for burgerservicenummer
What is an SSN used for?
NHS stands for what?
NIF e NIPC: qual a diferença?
A PESEL has 11 digits
the 19 digits of a Maestro card
The password is required for the export
Is the password the same as for mail?
How long must a password be?
password: required
Password: at least twelve characters
password = None
password = getpass.getpass()
password = os.environ["DB_PASSWORD"]
password: <your password>
password: ${DB_PASSWORD}
password=********
My password was changed yesterday
The secret is kept in the vault
the token is expired
token: string
The API key is stored by IT
api_key = { env = "ACME_KEY" }
The private key is on a smart card
key: value
The primary key is customer_number or not
What is a bearer token?
The bearer of responsibilities in the organisation
Authorization: Bearer <token>
sk-learn is a library
the sk-2023-annual-report-final-version file
github.com/acme/ghp_tools is our fork
hf_transfer speeds it up
eyJhbGciOi is how a JWT begins
AKIA is the prefix of a key
git clone git@github.com:acme/pump.git
icon@2x.png is blurred
npm install react@18.2.0 lodash@4.17.21
@anna can you look?
meet @ 5 in the canteen
5 bolts @ 0.50 EUR
who is @ home on Friday?
https://example.com/a:b@c
https://example.com:8443/path
mailto is a scheme
The shift is 06:00-14:00 or 14:00-22:00
Weeks 01-04/2024 are closed
Q3 2023/24 against Q3 2022/23
Valid 01/2024-12/2026
1989-11-09, 1990-10-03 and 1993-01-01
31.12.2023 23:59:59
Room 756.12 on floor 3
Cost centre 4711-0815
Account 0400 4711 in the ledger
VAT 19 % of 1 000 000
DE 123 456 789 is a VAT number
Page 100-120 of 340
Grid 12 34 56 78 9
Coordinates 52.5200, 13.4050
52°31'12.0"N 13°24'18.0"E
M8x1.25 screws, 12.9, 40 Nm
pH 7.40 at 37.0 °C
p < 0.0001, n = 12345678
95 % CI 1.23-4.56, I2 = 12.3 %
aged 18-65 with BMI 25.0-29.9
10-20-30 fertiliser
E = mc2 and 6.02214076e+23
+/- 5 V at 12000 Hz
00 12 34 56 on the meter
0012345678 is padded
003012345678 is a counter
0800 is the prefix of free calls
112 and 911 are emergency numbers
+1 for that idea
C++20 2023 edition
Enzyme EC 3.1.1.11 in tomatoes
the cells got PD-0332991 for a day
A+ 4.0 2024 2025
""".strip().splitlines()
