"""The codes that the demo hospital bills with. Pure tables: knows no FHIR, no plan and no patient.

Service codes have the form of national 医保 codes (15 digits for services, 23 characters for drugs,
20 for consumables) but belong to a code system of the demo's own; prices are plausible, not real.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

ICD_10 = "http://hl7.org/fhir/sid/icd-10"
YIBAO = "urn:lipei:demo:yibao-code"


@dataclass(frozen=True, kw_only=True)
class Service:
    """One thing that the hospital charges for."""

    code: str
    text: str
    kind: str
    price: Decimal
    unit: str
    # Social insurance's class: 甲 in full, 乙 in part, 丙 not at all.
    list_class: str


@dataclass(frozen=True, kw_only=True)
class Disease:
    """One diagnosis."""

    code: str
    text: str


def _service(line: str) -> Service:
    code, kind, list_class, price, unit, text = line.split("|")
    return Service(
        code=code, text=text, kind=kind, price=Decimal(price), unit=unit, list_class=list_class
    )


# code | kind | class | price in yuan | unit | text
SERVICES: dict[str, Service] = {
    service.code: service
    for service in map(
        _service,
        (
            # 1102 诊察费, 1103 急诊, 1109 床位, 1201 护理, 1202 抢救, 1204 注射
            "001102000010000|consultation|甲|25|次|普通门诊诊察费",
            "001102000020000|consultation|甲|50|次|专家门诊诊察费",
            "001102000030000|consultation|甲|60|次|急诊诊察费",
            "001102000050000|consultation|甲|30|日|住院诊察费",
            "001102000070000|consultation|甲|25|次|互联网复诊诊察费",
            "001102000990000|consultation|甲|25|次|门诊慢特病诊察费",
            "001109000010000|bed|甲|65|日|普通病房床位费",
            "001109000020000|bed|丙|480|日|特需病房床位费",
            "001109000030000|bed|乙|1180|日|重症监护病房床位费",
            "001201000010000|nursing|甲|52|日|一级护理",
            "001201000020000|nursing|甲|28|日|二级护理",
            "001202000010000|treatment|甲|180|次|急诊抢救",
            "001204000060000|treatment|甲|12.5|次|静脉输液",
            # 2101 X 线, 2102 磁共振, 2103 CT, 2203 彩超
            "002101020150000|imaging|甲|86|次|胸部正位数字化摄影（DR）",
            "002102000010000|imaging|乙|620|次|腰椎磁共振平扫",
            "002103000010000|imaging|乙|268|次|胸部 CT 平扫",
            "002103000020000|imaging|乙|312|次|腹部 CT 平扫",
            "002103000030000|imaging|乙|268|次|颅脑 CT 平扫",
            "002203010010000|imaging|甲|138|次|腹部彩色多普勒超声",
            # 2501 临床检验, 2503 临床化学, 3107 心电
            "002501010150000|lab|甲|18|项|血细胞分析（五分类）",
            "002501020350000|lab|甲|12|项|尿液分析",
            "002503020010000|lab|甲|6|项|葡萄糖测定",
            "002503020030000|lab|甲|58|项|糖化血红蛋白测定",
            "002503030010000|lab|甲|42|组|血脂四项",
            "002503070010000|lab|甲|33|组|肾功能三项",
            "002503050010000|lab|甲|45|组|肝功能五项",
            "003107010010000|lab|甲|20|次|常规心电图检查",
            "002503060020000|lab|甲|86|项|肌钙蛋白测定",
            "002504040050000|lab|乙|120|项|肿瘤标志物测定",
            "002401000050000|treatment|乙|1650|次|三维适形放射治疗",
            "003106030010000|treatment|甲|18|小时|呼吸机辅助呼吸",
            "003402000200000|treatment|甲|46|次|运动疗法（康复）",
            # 3105 口腔, 3114 皮肤, 33 手术
            "003105030010000|dental|丙|320|牙|牙周洁治",
            "003105190010000|dental|丙|4200|牙|种植体植入",
            "003114000990000|cosmetic|丙|1680|次|激光祛斑（美容）",
            "003310060020000|surgery|甲|2860|次|腹腔镜胆囊切除术",
            "003310040200000|surgery|甲|1980|次|阑尾切除术",
            "003308020100000|surgery|乙|6800|次|经皮冠状动脉支架置入术",
            "003315060200000|surgery|甲|4350|次|股骨骨折切开复位内固定术",
            "003301000050000|treatment|甲|860|次|全身麻醉",
            # X 西药, Z 中成药
            "XA10BAE046A001010100483|drug|甲|21.4|盒|盐酸二甲双胍缓释片 0.5g×30",
            "XA10BKD015A001010100117|drug|乙|58.32|盒|达格列净片 10mg×14",
            "XA10AEG058B002010200926|drug|乙|77.98|支|甘精胰岛素注射液 3ml:300U",
            "XA10BHX037A001010100305|drug|乙|46.2|盒|磷酸西格列汀片 100mg×7",
            "XC08CAA126A001010100774|drug|甲|18.9|盒|苯磺酸氨氯地平片 5mg×28",
            "XC09CAX029A001010100612|drug|甲|24.6|盒|缬沙坦胶囊 80mg×28",
            "XC10AAA240A001010100551|drug|甲|16.75|盒|阿托伐他汀钙片 20mg×14",
            "XB01ACA055A001010100230|drug|甲|9.8|盒|阿司匹林肠溶片 100mg×30",
            "XJ01CAA041A001010100091|drug|甲|11.36|盒|阿莫西林胶囊 0.25g×50",
            "XJ01DDT063B001010100418|drug|乙|36.5|支|注射用头孢曲松钠 1g",
            "XM01AEB117A001010100266|drug|甲|13.2|盒|布洛芬缓释胶囊 0.3g×20",
            "XA02BCA214A001010100842|drug|乙|22.875|盒|奥美拉唑肠溶胶囊 20mg×14",
            "XA07BCM108P001010100521|drug|甲|16.8|盒|蒙脱石散 3g×10",
            "XD07ACM154F001010100390|drug|乙|21.6|支|糠酸莫米松乳膏 10g",
            "XJ05AHA215A001010100153|drug|乙|45.35|盒|磷酸奥司他韦胶囊 75mg×10",
            "XB05BBL205B020010100337|drug|甲|4.15|袋|氯化钠注射液 250ml",
            "XL01EBD102A001010100650|drug|丙|4960|盒|靶向药（自费示例）250mg×30",
            "XL01FFX214B001010100777|drug|丙|9180|支|免疫检查点抑制剂（自费示例）100mg",
            "XB01ADT211B001010100419|drug|乙|3650|支|注射用溶栓药 50mg",
            "ZA01BAL0056010100728|drug|甲|19.6|盒|连花清瘟胶囊 0.35g×24",
            # C 医用耗材
            "C0203010010000010001|consumable|乙|8650|个|冠状动脉药物洗脱支架",
            "C0301020030000020014|consumable|乙|3980|套|股骨髓内钉系统",
            "C1402010020000010007|consumable|甲|1.35|个|一次性输液器",
        ),
    )
}


def _disease(line: str) -> Disease:
    code, text = line.split("|")
    return Disease(code=code, text=text)


DISEASES: dict[str, Disease] = {
    disease.code: disease
    for disease in map(
        _disease,
        (
            "J06.9|急性上呼吸道感染",
            "J11.1|流行性感冒",
            "J18.9|肺炎",
            "J20.9|急性支气管炎",
            "A09.9|感染性胃肠炎",
            "L30.9|湿疹",
            "M54.5|下背痛",
            "R05|咳嗽",
            "C34.9|肺恶性肿瘤",
            "I63.9|脑梗死",
            "K29.7|胃炎",
            "K35.8|急性阑尾炎",
            "K80.1|胆囊结石伴慢性胆囊炎",
            "N39.0|泌尿道感染",
            "R07.4|胸痛",
            "R10.4|腹痛",
            "S72.0|股骨颈骨折",
            "S93.4|踝关节扭伤",
            "I10|原发性高血压",
            "I21.9|急性心肌梗死",
            "E11.9|2 型糖尿病",
            "E11.2|2 型糖尿病伴肾脏并发症",
            "E11.4|2 型糖尿病伴神经并发症",
            "E78.5|高脂血症",
            # Pre-existing at underwriting for some members.
            "M51.2|腰椎间盘突出",
            # Excluded by health plans.
            "K05.1|慢性牙龈炎",
            "Z41.1|整形美容手术",
            "N97.9|女性不孕症",
        ),
    )
}
