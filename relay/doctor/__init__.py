"""The doctor: asks AWS what can be asked about a configuration, and says what to mend.

`plan` lists what there is to look at, `looking` and `proof` ask, `verdicts` judge what was found, without asking;
`examination` is the whole of it.
"""
