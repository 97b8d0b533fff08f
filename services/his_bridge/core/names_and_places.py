"""How persons and places below the province are written in Chinese and Western texts. Pure."""

from __future__ import annotations

import re

from services.his_bridge.core.identifiers import HAN, Form, Kind

# The surnames of over nine in ten people in China, and the compound ones.
_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林罗高郑梁谢宋唐许韩邓冯曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任"
    "沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔"
    "向汤"
)
_COMPOUND = "欧阳|司马|上官|诸葛|东方|皇甫|尉迟|公孙|慕容|司徒|令狐|夏侯|端木"
_SURNAME = f"(?:{_COMPOUND}|[{_SURNAMES}])"
# Clinical words that begin with a character that is a surname too.
_NO_NAME = (
    "高血|高热|高烧|高脂|高危|高龄|高尿|白细|白血|白带|白内|白斑|白蛋|黄疸|黄染|黄斑|严重|金黄|石膏|石淋"
    "|向心|方案|任何|万古|常规|水肿|何时|毛细|龙胆|雷公|夏枯|金属|孔源|余无|余未|程度|段性|于今|于昨|汤剂"
)
_ROLE = (
    "患者|病人|病员|患儿|产妇|伤者|家属|联系人|监护人|陪护|父亲|母亲|丈夫|妻子|儿子|女儿|配偶"
    "|(?:主治|主管|经治|手术|住院|责任)?(?:医师|医生|护士)|主刀|麻醉师|术者|签名|签字"
)
_TITLE = (
    "先生|女士|小姐|夫人|医生|医师|大夫|主任|护士长?|教授|老师|同志|阿姨|大爷|大妈|师傅|某某|某"
)
_WESTERN = r"[A-Z][\w'’\-]{0,30}+(?:[ ,]{1,2}[A-Z][\w'’.\-]{0,30}+){0,3}+"
_PROVINCES = (
    "河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北|湖南|广东|海南|四川|贵州|云南"
    "|陕西|甘肃|青海|台湾|内蒙古|广西|西藏|宁夏|新疆|香港|澳门"
)
_BELOW = (
    "市|州|盟|县|旗|区|镇|乡|街道|村|屯|社区|小区|新村|花园|大厦|公寓|大道|路|街|巷|弄|胡同"
    "|里弄|号院"
)
_STATES = (
    "A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]"
    "|T[NX]|UT|V[AT]|W[AIVY]"
)
# No province or municipality begins here, and no word that only sounds like a place.
_LOCAL = rf"(?:(?!北京|天津|上海|重庆|{_PROVINCES}|[省区本我全该超城都])[{HAN}])"
_LINK = rf"(?>[{HAN}0-9A-Za-z\-]{{1,8}}?(?:{_BELOW}))"
_MORE = rf"(?:{_LINK}){{0,4}}+"
_HOUSE = r"[0-9A-Za-z一二三四五六七八九十百\-]{1,8}+(?:号楼|号|栋|幢|单元|室|弄|层|楼|座)"


def _form(kind: Kind, pattern: str, flags: int = 0) -> Form:
    return Form(kind, re.compile(pattern, flags))


NAMES = (
    _form(
        Kind.NAME,
        r"(?:姓[ \t]{0,6}+名|名字|患者姓名|称呼)[ \t]{0,3}+[:=为是]?+[ \t]{0,3}+"
        rf"(?P<it>[{HAN}·]{{2,20}}+|{_WESTERN})",
    ),
    _form(
        Kind.NAME,
        rf"(?>{_ROLE})[ \t]{{0,3}}+[:=][ \t]{{0,3}}+(?P<it>[{HAN}·]{{2,4}}+|{_WESTERN})",
    ),
    _form(
        Kind.NAME,
        rf"(?>{_ROLE})[ \t]{{0,3}}+(?P<it>(?!{_NO_NAME}){_SURNAME}[{HAN}]{{1,2}})"
        rf"(?=[,，.。;；:、 \t\n(（)）0-9男女自]|主诉|因|于|入院|出院|$)",
    ),
    _form(Kind.NAME, rf"(?>{_ROLE})[ \t]{{1,3}}+(?P<it>{_WESTERN})"),
    _form(Kind.NAME, rf"(?!{_NO_NAME}){_SURNAME}[{HAN}]{{0,2}}?(?:{_TITLE})"),
    _form(
        Kind.NAME,
        r"(?<![A-Za-z])(?i:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Sister|Nurse)"
        rf"\.?[ \t]{{1,2}}(?P<it>{_WESTERN})",
    ),
    _form(
        Kind.NAME,
        r"(?<![A-Za-z])(?i:(?:patient|full|first|last|family|given|middle|maiden)? ?name|surname"
        r"|patient|next of kin|guardian|contact|signed(?: by)?)[ \t]{0,3}+[:=][ \t]{0,3}+"
        rf"(?P<it>{_WESTERN}|[{HAN}·]{{2,20}}+)",
    ),
    _form(
        Kind.NAME,
        r"(?<![A-Za-z])(?i:patient|pt\.?|husband|wife|mother|father|son|daughter)[ \t]{1,2}"
        r"(?P<it>[A-Z][a-z'’\-]{1,30}+ [A-Z][a-z'’\-]{1,30}+)",
    ),
)

PLACES = (
    # What stands behind the label, to the end of the clause.
    _form(
        Kind.PLACE,
        r"(?:地[ \t]{0,6}+址|住[ \t]{0,6}+址|籍贯|户籍|家住|现住|住所|居住地|出生地|工作单位|单位"
        r"|(?<![A-Za-z])(?i:address|residence|lives (?:at|in)|resident of|hometown|employer))"
        r"[ \t]{0,3}+[:=在为]?+[ \t]{0,3}+"
        r"(?P<it>[^,，.。;；\n\t]{2,80}+)",
    ),
    # A chain of places, the province in front of it left standing.
    _form(
        Kind.PLACE,
        rf"(?>(?:北京|天津|上海|重庆)市?+|(?:{_PROVINCES})"
        r"(?:省|自治区|壮族自治区|回族自治区|维吾尔自治区|特别行政区)?+)"
        rf"(?P<it>(?>[{HAN}]{{1,8}}?(?:{_BELOW})){_MORE}"
        rf"(?:{_HOUSE}){{0,4}}+)",
    ),
    _form(
        Kind.PLACE,
        rf"(?>{_LOCAL}{{2,4}}?(?:市|州|县)){_LINK}{_MORE}(?:{_HOUSE}){{0,4}}+",
    ),
    _form(
        Kind.PLACE,
        rf"{_LOCAL}{{1,8}}(?:路|街|巷|弄|胡同|大道|村|小区|新村|花园)(?:{_HOUSE}){{1,4}}+",
    ),
    _form(Kind.PLACE, rf"{_LOCAL}{{2,3}}(?:市|县|镇|乡|街道)(?![场民区售面级])"),
    _form(
        Kind.PLACE,
        r"(?:邮政编码|邮编|(?<![A-Za-z])(?i:post ?code|zip(?: ?code)?))"
        r"[ \t]{0,3}+[:=为]?+[ \t]{0,3}+"
        r"(?P<it>[0-9]{5,6}(?:-[0-9]{4})?|[A-Za-z][A-Za-z0-9]{1,3} ?[0-9][A-Za-z]{2})",
    ),
    _form(
        Kind.PLACE,
        r"(?<![0-9])[0-9]{1,6}+[A-Za-z]?,? (?>(?:[A-Z0-9][\w'.]{0,30}+ ){1,4}?"
        r"(?i:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Boulevard|Blvd|Court|Way|Place|Square)"
        r"(?![A-Za-z]))\.?+(?:,? (?i:apt|suite|unit|#)\.? ?[0-9A-Za-z]{1,6}+)?",
    ),
    _form(
        Kind.PLACE,
        rf"(?P<it>(?:[A-Z][a-z]{{1,20}}+ ?){{1,3}}+), ?(?:{_STATES})(?![A-Za-z])",
    ),
    _form(
        Kind.PLACE,
        rf"(?<![A-Za-z])(?:{_STATES}) (?P<it>[0-9]{{5}}(?:-[0-9]{{4}})?)(?![0-9])",
    ),
    _form(Kind.PLACE, r"-?[0-9]{1,3}\.[0-9]{4,12}+°?[NS]?[,， ]{1,2}-?[0-9]{1,3}\.[0-9]{4,12}+"),
)
