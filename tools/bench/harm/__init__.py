"""`reverie bench harm`: kinds of update, `honest` and `wrong`, are played on homes; `tables` says what they did."""
