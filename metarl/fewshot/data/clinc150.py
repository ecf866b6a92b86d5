"""CLINC150: 22,500 requests to an assistant, 150 intents of 10 domains.

Larson et al. 2019, "An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction",
EMNLP; CC BY 3.0, github.com/clinc/oos-eval.
"""

import json
from pathlib import Path

from metarl.errors import UserError
from metarl.fewshot.data.class_splits import split_by_size, split_groups
from metarl.fewshot.data.examples import DataSet
from metarl.fewshot.data.files import RemoteFile, find_file
from metarl.fewshot.data.options import unknown_split
from metarl.fewshot.data.texts import TextClasses, TextOptions, text_data

FILE = RemoteFile(
    "clinc150/data_full.json",
    "https://raw.githubusercontent.com/clinc/oos-eval/master/data/data_full.json",
    "sha256:36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0",
)

# Which intents are of a domain: data/domains.json of github.com/clinc/oos-eval.
_DOMAINS = {
    "banking": """
        account_blocked balance bill_balance bill_due freeze_account interest_rate
        min_payment order_checks pay_bill pin_change report_fraud routing spending_history
        transactions transfer
    """,
    "credit_cards": """
        application_status apr card_declined credit_limit credit_limit_change credit_score
        damaged_card expiration_date improve_credit_score international_fees new_card
        redeem_rewards replacement_card_duration report_lost_card rewards_balance
    """,
    "kitchen_and_dining": """
        accept_reservations calories cancel_reservation confirm_reservation cook_time
        food_last how_busy ingredient_substitution ingredients_list meal_suggestion
        nutrition_info recipe restaurant_reservation restaurant_reviews
        restaurant_suggestion
    """,
    "home": """
        calendar calendar_update next_song order order_status play_music reminder
        reminder_update shopping_list shopping_list_update smart_home todo_list
        todo_list_update update_playlist what_song
    """,
    "auto_and_commute": """
        current_location directions distance gas gas_type jump_start last_maintenance mpg
        oil_change_how oil_change_when schedule_maintenance tire_change tire_pressure
        traffic uber
    """,
    "travel": """
        book_flight book_hotel car_rental carry_on exchange_rate flight_status
        international_visa lost_luggage plug_type timezone translate travel_alert
        travel_notification travel_suggestion vaccines
    """,
    "utility": """
        alarm calculator date definition find_phone flip_coin make_call
        measurement_conversion roll_dice share_location spelling text time timer weather
    """,
    "work": """
        direct_deposit income insurance insurance_change meeting_schedule next_holiday
        payday pto_balance pto_request pto_request_status pto_used rollover_401k
        schedule_meeting taxes w2
    """,
    "small_talk": """
        are_you_a_bot do_you_have_pets fun_fact goodbye greeting how_old_are_you
        meaning_of_life tell_joke thank_you what_are_your_hobbies what_can_i_ask_you
        what_is_your_name where_are_you_from who_do_you_work_for who_made_you
    """,
    "meta": """
        cancel change_accent change_ai_name change_language change_speed change_user_name
        change_volume maybe no repeat reset_settings sync_device user_name whisper_mode yes
    """,
}
DOMAINS = {domain: tuple(intents.split()) for domain, intents in _DOMAINS.items()}
"""The 15 intents of each domain."""


def read_clinc150(root: str | None, split: str, options: TextOptions) -> DataSet:
    """All 150 texts of each intent, without the out-of-scope ones; groups are domains.

    Split `default`: 50 training, 50 validation and 50 test intents; `domains`: 4, 3 and 3 whole
    domains. UserError for a file that is not there, or not CLINC150's.
    """
    intents = [intent for each in DOMAINS.values() for intent in each]
    if split == "default":
        dealt = split_by_size(intents, (50, 50, 50), "classes of clinc150")
        how = "50 training, 50 validation, 50 test intents by a fixed shuffle"
    elif split == "domains":
        dealt = split_groups(DOMAINS, (4, 3, 3), "domains of clinc150")
        how = "whole domains to one split by a fixed shuffle, 60 training, 45 validation, 45 test"
        how += " intents"
    else:
        raise unknown_split("clinc150", split, "default", "domains")
    texts = _texts(find_file(FILE, root))
    if sorted(texts) != sorted(intents):
        raise UserError("clinc150: data_full.json has other intents; take the original file")
    domain_of = {intent: domain for domain, each in DOMAINS.items() for intent in each}
    origin = (
        "training, validation and test texts together, 150 of each intent, without the "
        f"out-of-scope ones; {how}"
    )
    return text_data(TextClasses("clinc150", texts, dealt, domain_of, origin), options)


def _texts(path: Path) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for part in ("train", "val", "test"):
            for text, intent in content[part]:
                texts.setdefault(intent, []).append(text)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"cannot read {path}: {error!r}; take the original file") from error
    return texts
