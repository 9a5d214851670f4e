-- What the database "shop" answers: the same before and after an upgrade. Nothing is changed.

SET search_path = sales, public;

SELECT id, name FROM sales.customer ORDER BY name, id LIMIT 12;
SELECT count(*) FROM sales.customer WHERE email = 'c17@EXAMPLE.org';
SELECT id, pgp_sym_decrypt(secret, 'key'), extra -> 'n' FROM sales.customer WHERE id <= 120 ORDER BY id;
SELECT count(*), max(name) FROM archive.far_customer WHERE extra @> 'parity=>1';
SELECT mood::integer, customers, longest FROM sales.by_mood ORDER BY mood;
SELECT tableoid::regclass, count(*), sum(with_tax), min(id), max(id) FROM sales.bill GROUP BY 1 ORDER BY 1::text;
SELECT sales.tax(100), 'ab'::text OPERATOR(sales.@>) 'c'::text, sales.temperature(1, 5) * sales.temperature(3, 9);
SELECT count(*) FROM sales.customer WHERE to_tsvector('german', name) @@ to_tsquery('german', 'Zander');
SELECT count(*) FROM sales.customer WHERE name LIKE '%eller 1%';
SELECT since, count(*) FROM sales.customer GROUP BY 1;
SELECT n FROM archive.numbers ORDER BY n;
SELECT relispopulated FROM pg_class WHERE relname = 'not_yet';
SELECT attname, attnum, attisdropped, atthasmissing FROM pg_attribute
WHERE attrelid = 'sales.customer'::regclass AND attnum > 0 ORDER BY attnum;
SELECT evtname, evtenabled FROM pg_event_trigger ORDER BY 1;
SELECT extname FROM pg_extension ORDER BY 1;
SELECT current_setting('default_statistics_target');
SET ROLE clerk;
SELECT count(*) FROM sales.customer;
RESET ROLE;
SELECT conname, contype, convalidated FROM pg_constraint
WHERE conrelid = 'archive.animal'::regclass AND contype <> 'n';
SELECT count(*), max(id) FROM sales.names;
SELECT count(*) FROM sales.my_bills;
