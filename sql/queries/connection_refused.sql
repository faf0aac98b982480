-- connection_refused: whether connection_set would refuse an account as one that is no site, for a dry run.
-- $1 platform text  $2 account text  $3 connected bool
-- One row: bool.
select exists (select from settle.insights_platforms where platform = $1::text and $3::boolean and not settle.is_site($2::text))
