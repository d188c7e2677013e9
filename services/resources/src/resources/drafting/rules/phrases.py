"""Phrases that tools do not need and attacks do: what each code of `texts` looks for.

Written for folded text: lower case, look-alikes replaced, one space between words. Repetitions are bounded, so that
matching stays linear.
"""

from collections.abc import Mapping

DROP = (
    r"(?:"
    r"ignore|disregard|forget|override|overrule|bypass|neglect|discard|abandon|supersede|stop following"
    r"|do not follow|don't follow|do not obey|don't obey"
    r")"
)

ORDERS = (
    r"(?:"
    r"instructions?|prompts?|rules?|directions?|directives?|guidelines?|guardrails?|polic(?:y|ies)|safeguards?"
    r"|restrictions?|constraints?|training|everything|commands?"
    r")"
)

SECRETS = (
    r"(?:"
    r"api[ _-]?keys?|passwords?|passphrases?|secrets?|(?:access|auth|session|bearer) tokens?|credentials?"
    r"|(?:ssh|private|encryption) keys?|environment variables?|seed phrases?|credit card(?: numbers?| details)?"
    r")"
)

TALK = (
    r"(?:"
    r"conversations?|chat(?: history)?|chats|dialog(?:ue)?|context(?: window)?|(?:user )?messages"
    r"|message history"
    r")"
)

PHRASES: Mapping[str, tuple[str, ...]] = {
    "hidden_override": (
        (
            rf"\b{DROP}\b(?: \w+){{0,4}}? (?:previous|prior|above|earlier|preceding|former|existing|all|any|other|your"
            rf"|these|those|my|system|safety|default|original|every)\b(?:'s)?(?: \w+){{0,3}}? {ORDERS}\b"
        ),
        rf"\b{DROP} (?:the |all )?{ORDERS}\b",
        rf"\b{DROP} (?:what|everything|anything|all)(?: \w+){{0,4}}? (?:told|said|given|instructed|above)\b",
        (
            r"\b(?:these|those|your|previous|other) (?:rules|instructions|restrictions) (?:do not|don't|no"
            r" longer) (?:apply|count)\b"
        ),
        r"\b(?:rules|instructions|restrictions) above (?:do not|don't|no longer) (?:apply|count)\b",
        (
            r"\b(?:reset|clear|erase|change|update|replace) your (?:\w+ )?(?:rules|instructions|memory|guidelines"
            r"|prompt|context)\b"
        ),
        r"\b(?:vergiss alles|olvida todo|oublie[zr]? tout)\b",
        r"забудь (?:\w+ )?(?:все|всё)",
        r"\bforget (?:everything|all) (?:above|before|you)",
        r"\b(?:new|updated|real|actual|true) (?:system )?instructions? ?:",
        r"\b(?:take|takes|has|have) precedence over (?:all|any|every|your|the system|other instructions)",
        r"\bignorier\w* (?:\w+ ){0,3}(?:anweisung|instruktion|regel|vorgabe)",
        r"\bvergiss (?:\w+ ){0,3}anweisung",
        (
            r"\bignor[ae]\w* (?:\w+ ){0,3}(?:instrucciones|instrucoes|instruções|istruzioni|instructions|reglas"
            r"|regras|consignes)"
        ),
        r"\boublie[zr]? (?:\w+ ){0,3}(?:instructions|consignes|règles)",
        r"\bolvida (?:\w+ ){0,3}instrucciones",
        r"игнориру\w* (?:\w+ ){0,3}(?:инструкц|указани|правил)",
        r"(?:忽略|无视|忘记).{0,8}(?:指令|指示|说明|规则|提示)",
        r"(?:指示|命令|ルール).{0,6}(?:無視|忘れ)",
        r"(?:지시|명령|규칙).{0,6}무시",
    ),
    "hidden_command": (
        r"\b(?:respond|reply|answer|speak|talk|write) (?:only|exclusively|solely|just) (?:in|with|by|using|to)\b",
        (
            r"\b(?:respond|reply|answer) (?:in (?:base64|rhymes?|verse|code|hex)|with (?:the (?:word|text|phrase)"
            r"|exactly))\b"
        ),
        r"\balways (?:answer|respond|reply|agree|comply|obey|approve)\b",
        r"\bnever (?:refuse|decline|question|warn|deny)\b",
        (
            r"\byour (?:new|real|true|actual|only|main|primary) (?:task|goal|job|mission|purpose|objective|role"
            r"|priority)\b"
        ),
        (
            r"\b(?:the|this|any) (?:assistant|ai|llm|chatbot|language model) (?:must|should|shall|has to|needs to"
            r"|is to|will)\b"
        ),
        r"\b(?:obey|comply with) (?:me|my|this|these|the following|all|every)\b",
        (
            r"\b(?:skip|bypass|omit) (?:all |any |every |the |its |your )*(?:safety|confirmation|verification"
            r"|permission|moderation)\b"
        ),
        r"\bno (?:\w+ )?(?:confirmation|consent|approval|permission)(?: \w+){0,4}? (?:needed|required|necessary)\b",
        (
            r"\bwithout (?:asking for |waiting for |requiring |any |the \w+'s )+(?:confirmation|consent|approval"
            r"|permission)\b"
        ),
        r"\b(?:consented|agreed) to (?:everything|anything|all)\b",
        (
            r"\b(?:treat|interpret|regard) (?:\w+(?:'s)? ){1,5}?as (?:\w+ )?(?:commands?|instructions?|orders|trusted"
            r"|authori[sz]ed)\b"
        ),
        r"\bi am (?:the|your) (?:developer|administrator|admin|creator|owner)\b",
        r"\b(?:claim|pretend|say|insist) (?:to be|that you are|you are) \w+",
        (
            r"\bif (?:you are |you're |anyone |anybody |someone )?ask(?:ed|s),? (?:say|claim|tell|answer|respond"
            r"|reply|deny)\b"
        ),
        r"\bwhen(?:ever)? this (?:tool|function) is (?:available|present|loaded|listed)\b",
        r"你必须|必須遵守",
    ),
    "hidden_role": (
        (
            r"(?:^|\n|[.!?] )(?:#{1,6} ?|\*\*|\[)?(?:system|assistant|developer|human)(?:\*\*|\])?(?: message| prompt"
            r"| note)? ?:"
        ),
        r"(?:^|\n)(?:#{1,6} ?|\*\*|\[)?(?:user|ai|model|function|tool)(?:\*\*|\])? ?: ",
        r"#{2,6} ?(?:system|instructions?|response|assistant|user|human|important)\b",
        r"\[/?(?:system|assistant|developer|admin|instructions?|important|secret|hidden|override)\]",
        (
            r"(?:begin|end|start) (?:of )?(?:system|hidden|secret|new|admin|developer) (?:prompt|instructions?"
            r"|message|mode)"
        ),
        r"\bnote to (?:the )?(?:ai|assistant|model|llm|agent|chatbot)\b",
        r"\b(?:attention|dear|hey) (?:ai|assistant|model|llm)\b",
        r"\"role\" ?: ?\"",
        r"'role' ?: ?'",
    ),
    "hidden_template": (
        r"\bend of (?:the )?(?:tool|function|description|schema)\b",
        r"\b(?:tool|function) (?:result|output|response) ?:",
        r"<\|[^|>\n]{1,40}\|>",
        r"\[/?inst\]",
        r"<</?sys>>",
        r"</?s>",
        r"</?(?:start|end)_of_turn>",
        r"\[/?(?:avail|tool)[a-z_]*\]",
        r"<\uff5c[^>\n]{1,40}\uff5c>",
        r"</?(?:tool_call|tool_response|function_calls?|invoke|think|thinking|bos|eos)>",
        r"\b(?:im_start|im_end|endoftext|fim_prefix)\b",
    ),
    "hidden_persona": (
        (
            r"\b(?:you are|you're|you will be|you become) (?:now |actually |really |no longer |an? |the |my |free )"
            r"(?:\w+ ){0,4}?(?:ai|assistant|model|agent|bot|chatbot|dan|llm|hacker|expert|terminal|admin\w*|bound"
            r"|from now)\b"
        ),
        r"\byou are now\b",
        r"\bdu bist (?:jetzt|nun|ab jetzt|ab sofort)\b",
        r"\b(?:ahora eres|eres ahora|tu es maintenant|vous etes maintenant|agora voce e|sei ora)\b",
        r"(?:ты|вы) теперь\b",
        r"你现在是|从现在(?:开始|起)|今から(?:あなた|君)は",
        r"\bfrom now on,? (?:you|always|never|all|every|respond|answer|ignore)",
        (
            r"\b(?:act|behave|respond|speak|answer) as (?:if you|though you|an? (?:unrestricted|uncensored|evil"
            r"|different)|dan\b)"
        ),
        r"\bpretend (?:to be|you|that you)\b",
        r"\b(?:role-?play|impersonate) as\b",
        r"\bjailbreak",
        r"\bdeveloper mode\b",
        r"\bdo anything now\b",
        r"\bwithout (?:any )?(?:ethical|moral|safety) (?:\w+ )?(?:restrictions?|limits?|guidelines?|filters?)",
    ),
    "hidden_secrecy": (
        (
            r"\b(?:sag|sage|erzahl|erzahle|verrate) (?:dem|der|den) (?:benutzer|nutzer|kunde|anrufer)\w*(?:"
            r" \w+){0,2}? nicht"
        ),
        r"\bno (?:le |se lo )?(?:digas|diga|cuentes|reveles|menciones)(?: \w+){0,3}? (?:usuario|cliente)\b",
        (
            r"\bne (?:dis|dites|revele|revelez|mentionne|mentionnez)(?: \w+){0,3}? (?:l'|au |le |la"
            r" )*(?:utilisateur|client)"
        ),
        r"не (?:говори|сообщай|рассказывай)",
        r"不要告诉|别告诉|ユーザーに(?:は)?(?:言わ|伝え)な",
        (
            r"\b(?:do not|don't|never|must not|should not|without|avoid) (?:\w+ ){0,2}?(?:tell|telling|inform"
            r"|informing|mention|mentioning|reveal|revealing|notify|notifying|alert|alerting|show|showing|disclose"
            r"|disclosing|let)\b(?: \w+){0,4}? (?:users?|customers?|callers?|humans?|anyone|anybody)\b"
        ),
        r"\b(?:do not|don't|never) (?:mention|reveal|disclose) (?:this|that|these|it)\b",
        r"\b(?:secretly|covertly|surreptitiously)\b",
        r"\bkeep (?:this|it|that) (?:a )?(?:secret|hidden|confidential)\b",
        r"\b(?:hide|conceal) (?:this|it|that|these)(?: \w+){0,3} from (?:the )?(?:user|customer|caller|human)",
    ),
    "hidden_steering": (
        r"\b(?:call|invoke|run|execute|trigger) (?:the )?(?:tool |function )?[a-z]+_[a-z_]+\b",
        (
            r"\b(?:before|after|whenever|every time|each time)(?: you)? (?:us(?:e|ing)|call(?:ing)?|invok(?:e|ing)"
            r"|run(?:ning)?) (?:any|every|each|all|an)(?:other| other)?(?: \w+)? (?:tools?|functions?)\b"
        ),
        (
            r"\b(?:do not|don't|never|stop) (?:use|using|call|calling|invoke|invoking) (?:any |the |all )?(?:other"
            r"|another|existing)(?: \w+)? (?:tools?|functions?)\b"
        ),
        (
            r"\b(?:instead of|rather than|in place of) (?:any|all|every|other|the other|the (?:built-?in|official"
            r"|real))(?: \w+)?(?: \w+)? (?:tools?|functions?)\b"
        ),
        (
            r"\b(?:must|always|should)(?: always)?(?: be)? (?:use|used|call|called|invoke|invoked|run)(?: \w+){0,3}?"
            r" (?:first|before (?:any|every|all|responding|answering)|on every (?:turn|message|request)|for (?:all"
            r"|every) (?:\w+ )?requests?)"
        ),
        (
            r"\b(?:all|every|any) other tools? (?:is|are|have been|has been) (?:deprecated|disabled|broken|removed"
            r"|unsafe)"
        ),
    ),
    "hidden_prompt": (
        r"\b(?:system|developer|hidden|secret|initial|original) (?:prompts?|instructions?|messages?)\b",
        (
            r"\b(?:reveal|print|repeat|output|show|leak|dump|recite|disclose|include|copy|paste)\b(?: \w+){0,3}?"
            r" (?:your|the model's|the assistant's) (?:\w+ ){0,2}?(?:prompts?|instructions?|rules|guidelines"
            r"|configuration|training)\b"
        ),
        r"\bchain[ -]of[ -]thought\b",
        (
            r"\b(?:output|print|repeat|copy|recite|write|quote)(?: \w+){0,2}? (?:text|words|content"
            r"|everything|messages?|lines?)"
            r" (?:above|before this|so far)\b"
        ),
        r"\bwhat (?:were|are) you (?:told|instructed|asked)\b",
        r"\btranslate your (?:\w+ )?(?:instructions|prompt|rules)\b",
    ),
    "hidden_secret": (
        (
            r"\b(?:send|include|provide|pass|append|attach|reveal|print|give|supply|read|collect|leak|exfiltrate"
            r"|extract|steal|harvest|submit|share|ask (?:\w+ ){1,3}for|put|enter|fill in|dump|copy)\b(?: \w+)"
            r"{0,3}? (?:your|their|all|any|every|the (?:user|customer|caller|system|server|admin\w*)(?:'s)?|(?:user"
            rf"|customer|caller)'?s?) (?:\w+ ){{0,3}}?{SECRETS}\b"
        ),
        (
            r"(?:/etc/(?:passwd|shadow|hosts)|~/\.|\.ssh/|\bid_rsa\b|\bid_ed25519\b|\.aws/|(?:^|[ /])\.env\b"
            r"|\bmcp\.json\b|c:\\windows)"
        ),
    ),
    "hidden_exfiltration": (
        r"\b(?:last|recent|previous|earlier|all)(?: \w+){0,2}? messages (?:into|as)\b",
        r"\beverything (?:you know|in your)\b",
        r"\bcontents? of your\b",
        r"\bcop(?:y|ies) of (?:every|each|all)(?: \w+)? (?:messages?|conversations?|calls?|chats?|requests?)\b",
        (
            r"\b(?:send|post|upload|transmit|bcc|exfiltrate|leak|email|append|attach|include|copy|paste|put|encode"
            r"|summari[sz]e)\b(?: \w+){0,2}? (?:entire|full|whole|complete|previous|all|everything|every)(?: \w+)"
            rf"{{0,3}}? (?:{TALK}|(?:user|customer|personal|private) (?:data|information|details))\b"
        ),
        r"\b(?:exfiltrate|leak|steal|harvest|smuggle)\b",
        rf"\b(?:contents?|copy) of (?:this|the|your) {TALK} (?:to|into|in)\b",
        r"\bevery(?:thing)? (?:the )?(?:user|customer|caller) (?:says|said|typed|has said)\b",
    ),
    "text_link": (
        (
            r"\b(?:https?|hxxps?|ftps?|file|wss?|data|javascript|vbscript|ldap|gopher|mailto|tel):(?=/|\w|\+)(?!\w+\b"
            r" [a-z])"
        ),
        r"\bwww\.(?!example\.)\w",
        r"\b\d{1,3}(?:\.\d{1,3}){3}[:/]\d*",
        (
            r"\b(?!example\.)[\w-]{2,63}(?:\[\.\]|\.)(?:com|net|org|io|ru|cn|xyz|info|dev|app|ai|co|top|site"
            r"|online|sh)\b(?<!example\.com)(?<!example\.org)(?<!example\.net)"
        ),
    ),
    "text_markup": (
        r"<!--",
        r"-->",
        r"<!\[cdata",
        r"</[a-z]",
        r"<[a-z]+ [a-z-]+ ?=",
        r"&#x?[0-9a-f]+;",
        r"&(?:lt|gt|amp|quot|nbsp|zwnj);",
        r"!\[",
        r"\]\([^)]",
        r"```",
        (
            r"<(?:a|b|i|p|br|div|span|img|svg|script|iframe|style|object|embed|form|input|meta|link|table|font"
            r"|details|important|system|instructions?|secret|hidden|admin|prompt|user|assistant|developer|tool"
            r"|context|override|warning|note)[ />]"
        ),
    ),
    "text_code": (
        r"\{\{",
        r"\$\{",
        r"\{%",
        r"<%",
        r"\$\(",
        r"`[^`]{3,}`",
        r"\brm -[rf]",
        r"\b(?:curl|wget) (?:-|\w)",
        r"\b(?:eval|exec|__import__|system|popen) ?\(",
        r"\bos\.(?:system|environ)",
        r"\bsubprocess\b",
        r"\bpowershell\b",
        r"\b(?:drop|truncate) table\b",
        r";\s*--",
        r"' or '?1'?\s*=\s*'?1",
        r"\bunion select\b",
        r"\bdocument\.cookie\b",
        r"\bprocess\.env\b",
        r"\bsudo \w",
        r"\|\s*(?:ba)?sh\b",
    ),
}
