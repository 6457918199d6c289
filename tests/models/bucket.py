"""The slow obvious bucket: it walks every refill moment one by one."""


class SlowBucket:
    def __init__(self, capacity: int, refill_amount: int, interval_ns: int, now: int) -> None:
        self.capacity = capacity
        self.refill_amount = refill_amount
        self.interval_ns = interval_ns
        self.available = capacity
        self.boundary = now + interval_ns

    def try_consume(self, tokens: int, now: int) -> bool:
        while self.boundary <= now:
            for _ in range(self.refill_amount):
                if self.available < self.capacity:
                    self.available += 1
            self.boundary += self.interval_ns
        if tokens > self.available:
            return False
        self.available -= tokens
        return True
