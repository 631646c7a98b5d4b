"""The words of a run's picture and page, in English and Korean."""

from __future__ import annotations

import re

from forklab.trace import model

# English, Korean.
WORDS = {
    # Labels in the picture, and on the page.
    "server": ("server", "서버"),
    "child": ("child", "자식"),
    "thread": ("thread", "스레드"),
    "client": ("client", "클라이언트"),
    "zombie": ("zombie", "좀비"),
    "frozen": ("frozen", "멈춤"),
    "merged": ("merged", "합쳐짐"),
    "pending": ("stays pending", "계속 대기 중"),
    "lost": ("not delivered", "전달되지 않음"),
    "nothing": ("no effect", "효과 없음"),
    "handler": ("handler", "핸들러"),
    "default": ("default action", "기본 동작"),
    "ignore": ("ignored", "무시"),
    "killed": ("killed by", "강제 종료:"),
    "wait": ("reaped", "회수"),
    "never": ("never reaped", "회수되지 않음"),
    "init": ("reaped by init", "init이 회수"),
    "automatic": ("reaped by the kernel", "커널이 회수"),
    "adopted": ("adopted by init", "init이 입양"),
    "alive": ("still alive", "살아 있음"),
    "connections": ("connections", "연결"),
    # What the page says besides.
    "language": ("Language", "언어"),
    "honest": (
        "Recorded with strace, which slows a server down and keeps zombies longer than they would "
        "live alone: how far it is from one thing to the next says nothing. A picture to think "
        "with; no mark comes of it.",
        "strace로 기록했습니다. strace를 쓰면 서버가 느려지고 좀비가 실제보다 오래 남습니다. "
        "그림에서 간격의 길이는 의미가 없습니다. 생각을 돕는 그림일 뿐, 점수와는 관계가 없습니다.",
    ),
    "picture": ("The picture of the run", "실행 그림"),
    "legend": ("How to read it", "그림 읽는 법"),
    "step": ("Step through it", "한 단계씩 보기"),
    "event": ("event", "이벤트"),
    "first": ("first", "처음"),
    "back": ("back", "이전"),
    "on": ("on", "다음"),
    "last": ("last", "마지막"),
    "milestones": ("only what is drawn", "그림에 나온 것만"),
    "predict": ("predict: ask me how many zombies there are", "예측: 좀비가 몇 개일지 먼저 묻기"),
    "how_many": ("How many zombies are there after this?", "그다음 좀비는 몇 개일까요?"),
    "next": ("Next:", "다음 이벤트:"),
    "show": ("show", "확인"),
    "yes": ("Yes. Zombies:", "맞습니다. 좀비:"),
    "no": ("No. Zombies:", "아니요. 좀비:"),
    "at_this_moment": ("At this moment", "이 순간"),
    "process": ("process", "프로세스"),
    "state": ("state", "상태"),
    "open": ("open descriptors", "열린 파일 디스크립터"),
    "signals": ("signals", "시그널"),
    "open_in": ("open in", "열고 있는 프로세스"),
    "everything": ("Everything that happened", "일어난 모든 일"),
    "time": ("ms", "ms"),
    "who": ("who", "누가"),
    "what": ("what", "무엇을"),
    "zombies": ("zombies", "좀비 수"),
    "line": ("source", "소스"),
    "processes_at_end": ("Every process, from fork to reap", "모든 프로세스: fork에서 회수까지"),
    "parent": ("parent", "부모"),
    "forked": ("forked", "생성"),
    "ended": ("ended", "종료"),
    "became": ("reaped", "회수"),
    "every_connection": ("Every connection", "모든 연결"),
    "connected": ("connected", "연결됨"),
    "accepted": ("accepted", "accept"),
    "end_of_file": ("end of file", "EOF"),
    "closed": ("closed by all", "모두 닫음"),
    "unread": ("Lines of the log that were not understood", "해석하지 못한 기록"),
    model.NOT_YET: ("not yet", "아직 없음"),
    model.RUNNING: ("alive", "살아 있음"),
    model.STOPPED: ("frozen", "멈춤"),
    model.ENDING: ("ending", "종료 중"),
    model.GONE: ("gone", "사라짐"),
}

# The signs of the picture: what stands in a small drawing of its own, and what it means.
LEGEND = (
    ("life", "a process, from its fork to its end", "프로세스: fork부터 종료까지"),
    ("zombie", "a zombie: ended, and not waited for", "좀비: 종료했지만 아직 wait되지 않음"),
    ("frozen", "frozen by SIGSTOP", "SIGSTOP으로 멈춤"),
    ("link", "fork", "fork"),
    ("reap", "its parent waits for it: reaped", "부모가 wait함: 회수"),
    ("sent", "a signal is sent", "시그널을 보냄"),
    ("arrow", "it stays pending until it is delivered", "전달될 때까지 대기(pending)"),
    (
        "lost",
        "it makes no difference: merged, ignored, or never delivered",
        "아무 효과 없음: 합쳐졌거나, 무시되었거나, 끝내 전달되지 않음",
    ),
    ("taken", "a signal is delivered", "시그널이 전달됨"),
    ("accept", "accept", "accept"),
    ("queued", "a connection in the queue, not accepted yet", "대기 큐의 연결: 아직 accept 전"),
    (
        "held",
        "a connection, a bar for each process that has it open",
        "연결: 열고 있는 프로세스마다 막대 하나",
    ),
    ("eof", "this process reads the end of file: its client has left", "이 프로세스가 EOF를 읽음"),
)

# The scenario's steps in Korean.
MARKS = (
    (r"the server starts", "서버 시작"),
    (r"the server gets (\w+)", r"서버에 \1"),
    (r"the server is frozen \((\w+)\)", r"서버 멈춤(\1)"),
    (r"the server goes on \((\w+)\)", r"서버 재개(\1)"),
    (r"the trace ends", "기록 끝"),
    (r"client (\d+) connects", r"클라이언트 \1 연결"),
    (r"client (\d+) sends (.*)", r"클라이언트 \1: \2 전송"),
    (r"client (\d+) leaves", r"클라이언트 \1 나감"),
    (r"client (\d+) vanishes \(reset\)", r"클라이언트 \1 사라짐(reset)"),
)


def mark_words(text: str) -> tuple[str, str]:
    """A step of the scenario in English and Korean."""
    for english, korean in MARKS:
        if found := re.fullmatch(english, text):
            return text, found.expand(korean)
    return text, text


def phrase(before: str, key: str, after: str = "") -> tuple[str, str]:
    """A text of WORDS in both languages, with what stands around it."""
    english, korean = (
        " ".join(filter(None, (before, word, after))) for word in WORDS.get(key, ("", ""))
    )
    return english, korean
