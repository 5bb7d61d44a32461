"""The stages, a page each: what it reads, what it writes, what it does.

    prompts           every prompt of the run
    revision          stage 1: responses, critiques, revisions; helpful samples; what SFT learns from
    sft               stage 1: SL-CAI
    comparisons       stage 2: two responses of SL-CAI to each prompt
    feedback          stage 2: AI labels, by the base model and never by SL-CAI
    preference_model  stage 2: the preference model
    ppo               stage 2: RL-CAI
    evaluation        the models on prompts kept from training; grades of the revisions; the report's example

`method` puts them in order. A stage imports the artifacts it reads from the page of the stage that writes them, and no
stage imports `method`. Where a stage departs from the paper is said in its page.
"""
