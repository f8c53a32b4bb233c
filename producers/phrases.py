"""The words of the synthetic world: companies, sentence templates by mood and language, and a catalogue of items.

``{name}`` is a name of the company in the language of the post, ``{tag}`` its cashtag; every other slot is drawn from
``SLOTS``. A template with three slots stands for several hundred sentences.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Company:
    """One entity, by ticker, with its names in both languages. Half of the companies are invented."""

    ticker: str
    english: tuple[str, ...]
    chinese: tuple[str, ...]


COMPANIES: Final = (
    Company("AAPL", ("Apple", "Apple Inc", "AAPL"), ("苹果", "苹果公司")),
    Company("TSLA", ("Tesla", "Tesla Motors", "TSLA"), ("特斯拉", "特斯拉汽车")),
    Company("AMZN", ("Amazon", "AMZN"), ("亚马逊",)),
    Company("NVDA", ("Nvidia", "NVDA"), ("英伟达", "老黄家")),
    Company("BABA", ("Alibaba", "BABA", "Alibaba Group"), ("阿里巴巴", "阿里")),
    Company("NFLX", ("Netflix", "NFLX"), ("奈飞", "网飞")),
    Company("QDLN", ("Quadline", "Quadline Motors"), ("夸德汽车", "夸德")),
    Company("VLTX", ("Voltexa", "Voltexa Energy"), ("伏泰能源", "伏泰")),
    Company("NVHL", ("Northvale", "Northvale Foods"), ("北谷食品", "北谷")),
    Company("KRFN", ("Korafin", "Korafin Bank"), ("科拉银行", "科拉金融")),
    Company("HLQN", ("Haliquin", "Haliquin Pharma"), ("海立康", "海立康药业")),
    Company("PYXR", ("Pyxera", "Pyxera Cloud"), ("派克云", "派克瑟拉")),
)

SLOTS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "en": {
        "trouble": (
            "the recall",
            "that data leak",
            "the accounting probe",
            "the outage",
            "the lawsuit",
            "the profit warning",
            "the layoffs",
            "the fraud allegations",
            "the failed launch",
            "the warehouse fire",
            "the downgrade",
            "the boycott",
        ),
        "luck": (
            "the earnings beat",
            "the new contract",
            "the buyback",
            "the raised guidance",
            "the product launch",
            "the partnership",
            "the record deliveries",
            "the upgrade",
            "the dividend hike",
            "the approval",
            "the expansion",
        ),
        "event": (
            "the annual meeting",
            "the earnings call",
            "the investor day",
            "the product event",
            "the conference",
            "the quarterly report",
            "the analyst day",
            "the index review",
            "the filing",
            "the press briefing",
        ),
        "unit": ("the cloud unit", "the Europe business", "hardware", "the service arm", "the China team", "the retail side"),
        "bad": ("a disaster", "a mess", "embarrassing", "unacceptable", "a trainwreck", "painful to watch", "a scandal"),
        "good": ("impressive", "brilliant", "a huge win", "exactly what we hoped for", "outstanding", "better than expected"),
        "worse": ("tanking", "bleeding", "collapsing", "in free fall", "sinking", "falling apart", "getting crushed"),
        "better": ("flying", "ripping higher", "breaking out", "on fire", "climbing nicely", "hitting new highs"),
        "who": ("customers", "employees", "suppliers", "investors", "regulators", "my colleagues", "analysts", "users"),
        "day": ("today", "this week", "this morning", "since Monday", "again", "after hours", "in premarket"),
        "n": ("3", "5", "7", "9", "12", "15", "18", "22", "30"),
        "when": ("next Tuesday", "on Thursday", "at 4pm", "later this month", "after the close", "tomorrow morning"),
        "tail": ("", "", "", " smh", " tbh", " imo", " just saying", " anyone else?", " watching closely"),
    },
    "zh": {
        "trouble": (
            "召回",
            "数据泄露",
            "财务造假传闻",
            "宕机",
            "官司",
            "业绩预警",
            "大裁员",
            "欺诈指控",
            "发布会翻车",
            "仓库着火",
            "评级下调",
            "抵制风波",
            "产品质量问题",
        ),
        "luck": (
            "业绩超预期",
            "拿下大单",
            "股票回购",
            "上调指引",
            "新品发布",
            "战略合作",
            "交付量创新高",
            "评级上调",
            "提高分红",
            "获批上市",
            "海外扩张",
        ),
        "event": (
            "股东大会",
            "财报电话会",
            "投资者日",
            "新品发布会",
            "行业峰会",
            "季报",
            "分析师会议",
            "指数调整",
            "公告",
            "媒体沟通会",
        ),
        "unit": ("云业务", "欧洲业务", "硬件部门", "服务板块", "中国团队", "零售业务"),
        "bad": ("太离谱了", "一塌糊涂", "让人失望透顶", "不可接受", "简直是灾难", "惨不忍睹", "丢人"),
        "good": ("太给力了", "非常亮眼", "超出预期", "真的强", "让人惊喜", "稳得很"),
        "worse": ("暴跌", "崩了", "跌跌不休", "跳水", "一路阴跌", "被砸盘", "闪崩"),
        "better": ("大涨", "起飞", "突破新高", "强势拉升", "稳步走高", "涨停的节奏"),
        "who": ("客户", "员工", "供应商", "投资者", "监管部门", "身边同事", "分析师", "用户"),
        "day": ("今天", "这周", "早盘", "周一以来", "又一次", "盘后", "尾盘"),
        "n": ("3", "5", "7", "9", "12", "15", "18", "22", "30"),
        "when": ("下周二", "周四", "下午四点", "月底", "收盘后", "明天上午"),
        "tail": ("", "", "", "，唉", "，大家怎么看", "，先观望", "，继续关注", "，说实话", "，仅供参考"),
    },
}

TEMPLATES: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("en", "negative"): (
        "{trouble} at {name} is {bad}{tail}",
        "{tag} {worse} {day}, down {n}% after {trouble}",
        "Sold all my {tag}. {trouble} was the last straw, {who} are furious",
        "Terrible service from {name}: {n} days and still no answer{tail}",
        "{name} keeps lying about {trouble}, {who} deserve better",
        "How is {tag} not lower? {trouble} plus weak numbers from {unit}, this is {bad}",
        "{who} are leaving {name} because of {trouble}{tail}",
        "Lost {n}% on {tag} {day}. Worst decision of my year",
        "{unit} at {name} is {worse} and management has no plan",
        "Nobody at {name} takes responsibility for {trouble}. {bad}",
        "Short {tag}. {trouble} will cost them {n}% of revenue, {who} are angry",
        "I regret buying from {name}, broken after {n} days and support refuses a refund",
        "{name} misses badly, {unit} {worse}{tail}",
        "Warning: {trouble} at {name} is far worse than {who} were told",
    ),
    ("en", "positive"): (
        "{luck} at {name} is {good}{tail}",
        "{tag} {better} {day}, up {n}% on {luck}",
        "Added more {tag}. {luck} shows {unit} is {better}",
        "Love what {name} is doing with {unit}, {good}",
        "Great support from {name}, solved in {n} minutes. Thank you!",
        "{who} are happy with {name} after {luck}{tail}",
        "{name} beats again: {unit} up {n}%, {good}",
        "Best trade of the month: {tag} up {n}% since {luck}",
        "Bullish on {tag}, {luck} is only the start",
        "{name} delivered {n} days early, {good}{tail}",
        "Congrats to the {name} team on {luck}, {who} love it",
        "{tag} looks strong {day}, {who} keep buying after {luck}",
        "Finally {luck} from {name}. {good}!",
        "Upgraded {tag} to buy, {unit} is {better}",
    ),
    ("en", "neutral"): (
        "{name} will hold {event} {when}",
        "{tag} trades flat {day} ahead of {event}",
        "Reading the notes of {event} from {name}{tail}",
        "Does anyone know when {name} publishes {event}?",
        "{name} names a new head for {unit}, starting {when}",
        "{tag} volume {n} million shares {day}, price unchanged",
        "{name} moves {unit} to a new office {when}",
        "Reminder: {event} of {name} starts {when}",
        "{who} expect {name} to comment on {unit} at {event}",
        "Holding {tag} for now, waiting for {event}",
        "{name} files the documents for {event} {when}",
        "Watching {tag} {day}, no position",
    ),
    ("zh", "negative"): (
        "{name}{trouble}，{bad}{tail}",
        "{tag} {day}{worse}，跌了{n}%，都怪{trouble}",
        "{name}的客服太差了，等了{n}天都没人处理，{bad}",
        "因为{trouble}，{who}对{name}彻底失去信心{tail}",
        "割肉清仓{name}，{trouble}没完没了",
        "{name}{unit}{worse}，管理层毫无办法",
        "{day}{name}又爆出{trouble}，{who}都在骂",
        "买{name}亏了{n}%，{bad}，再也不碰了",
        "{name}一直在隐瞒{trouble}，{who}被坑惨了",
        "{trouble}之后{name}还不道歉，{bad}",
        "用了{n}天就坏了，{name}拒绝退款，避雷！",
        "{tag}还要跌，{unit}拖后腿，{trouble}还没完",
        "{who}纷纷离开{name}，{trouble}比想象的严重",
        "{name}业绩大幅不及预期，{unit}{worse}{tail}",
    ),
    ("zh", "positive"): (
        "{name}{luck}，{good}{tail}",
        "{tag} {day}{better}，涨了{n}%，{luck}",
        "加仓{name}，{unit}表现{good}",
        "{name}的客服真不错，{n}分钟就解决了，点赞",
        "{who}都看好{name}，{luck}只是开始",
        "{name}{unit}增长{n}%，{good}{tail}",
        "这个月最成功的一笔：{name}涨了{n}%",
        "{luck}！{name}团队辛苦了，{who}都很满意",
        "{name}提前{n}天到货，包装也好，{good}",
        "{day}{name}{better}，{who}还在买",
        "长期持有{tag}，{luck}，未来可期",
        "终于等到{name}{luck}，{good}！",
        "{name}新产品体验{good}，推荐给{who}了",
        "券商上调{name}目标价{n}%，理由是{luck}",
    ),
    ("zh", "neutral"): (
        "{name}将于{when}召开{event}",
        "{event}前{tag}横盘整理{tail}",
        "正在看{name}{event}的纪要",
        "有人知道{name}{event}什么时候吗？",
        "{name}任命{unit}新负责人，{when}到任",
        "{tag}{day}成交{n}百万股，股价持平",
        "{name}{unit}{when}搬到新办公室",
        "提醒：{name}{event}{when}开始",
        "{who}预计{name}会在{event}上谈到{unit}",
        "继续持有{name}，等{event}再说",
        "{name}{when}提交{event}相关材料",
        "{day}关注{tag}，暂时没有仓位",
    ),
}

EMOJI: Final = {
    "negative": ("", "", "", " 😡", " 📉", " 🤦", " 💀", " 😤"),
    "positive": ("", "", "", " 🚀", " 📈", " 🎉", " 💪", " 😍"),
    "neutral": ("", "", "", "", " 👀", " 🗓️"),
}

FLOODS: Final = {
    "en": "URGENT {tag} is going bankrupt, the CEO has fled, sell everything NOW before they halt trading, share this https://t.co/{noise}",
    "zh": "紧急！{name}即将破产，老板已经跑路，赶紧清仓，停牌就来不及了，转发扩散 https://t.co/{noise}",
}

ITEMS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "coffee": (
        ("espresso machine", "意式咖啡机"),
        ("pour-over kettle", "手冲壶"),
        ("burr grinder", "磨豆机"),
        ("moka pot", "摩卡壶"),
    ),
    "running": (
        ("trail running shoes", "越野跑鞋"),
        ("running vest", "跑步背心"),
        ("sports watch", "运动手表"),
        ("compression socks", "压缩袜"),
    ),
    "camera": (
        ("mirrorless camera", "微单相机"),
        ("telephoto lens", "长焦镜头"),
        ("carbon tripod", "碳纤维三脚架"),
        ("camera bag", "相机包"),
    ),
    "garden": (
        ("garden hose", "花园水管"),
        ("raised planter", "种植箱"),
        ("pruning shears", "修枝剪"),
        ("compost bin", "堆肥桶"),
    ),
    "office": (
        ("standing desk", "升降桌"),
        ("mechanical keyboard", "机械键盘"),
        ("desk lamp", "护眼台灯"),
        ("ergonomic chair", "人体工学椅"),
    ),
    "baby": (
        ("baby stroller", "婴儿推车"),
        ("bottle warmer", "温奶器"),
        ("picture book", "绘本"),
        ("baby monitor", "婴儿监护器"),
    ),
    "kitchen": (("cast iron pan", "铸铁锅"), ("chef's knife", "主厨刀"), ("rice cooker", "电饭煲"), ("air fryer", "空气炸锅")),
    "travel": (
        ("carry-on suitcase", "登机箱"),
        ("travel pillow", "旅行颈枕"),
        ("noise-cancelling headphones", "降噪耳机"),
        ("power bank", "充电宝"),
    ),
}
ADJECTIVES: Final = (
    ("compact", "小巧"), ("lightweight", "轻便"), ("professional", "专业级"), ("budget", "平价"),
    ("premium", "高端"), ("quiet", "静音"), ("foldable", "可折叠"), ("smart", "智能"),
)  # fmt: skip
